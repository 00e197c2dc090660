"""The Hugging Face Hub, through `huggingface_hub`: download, upload, search, and the bases in use."""
