"""All talk with the Hugging Face Hub, through `huggingface_hub`.

reading.py   the files of one commit, and the list of styles
writing.py   one commit with all files, or none when the repo has them already
client.py    the client, with these beside it:
limits.py    how long a request may take
errors.py    what went wrong, in one sentence
"""
