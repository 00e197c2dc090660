"""The Hugging Face Hub, through `huggingface_hub`.

download.py        the files of one commit, and artifacts from folders and repos
upload.py          one commit with all files, or none if the repo has them; folders
search.py          the list of styles
base_registry.py   the bases in use, and the base that a style names
errors.py          the client, and its failures as one sentence
"""
