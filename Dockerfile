# docker build -t pvg . && docker run --rm --gpus all -v "$PWD:/work" pvg demo
# Without a GPU leave --gpus all out. To play: docker run --rm -it pvg play --headless 1,1,2
FROM nvidia/cuda:12.8.1-base-ubuntu24.04

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

# the user of the base image has the number 1000: files written to a mounted folder belong to most people's own user
RUN install -d -o ubuntu -g ubuntu /work

USER ubuntu
ENV HOME=/home/ubuntu \
    PATH=/home/ubuntu/pvg/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1

COPY --chown=ubuntu:ubuntu . /home/ubuntu/source
RUN python3 -m venv /home/ubuntu/pvg \
 && python -m pip install --no-cache-dir '/home/ubuntu/source[eval,hub]' \
 && rm -rf /home/ubuntu/source \
 && pvg --version

WORKDIR /work
ENTRYPOINT ["pvg"]
CMD ["--help"]
