# The Gradio app on a CPU, as an ordinary user:
#   docker build -t metastyle . && docker run --rm -p 7860:7860 metastyle
FROM python:3.13-slim

RUN useradd --create-home --uid 1000 metastyle
WORKDIR /home/metastyle/app
COPY --chown=metastyle pyproject.toml README.md LICENSE ./
COPY --chown=metastyle metastyle_hub ./metastyle_hub
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu \
 && pip install --no-cache-dir '.[app]'

USER metastyle
WORKDIR /home/metastyle
EXPOSE 7860
# exec form: SIGTERM of `docker stop` reaches the app itself
CMD ["metastyle", "space", "--host", "0.0.0.0", "--port", "7860"]
