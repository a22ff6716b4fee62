# Training and inference on a GPU. Build: docker build -t perception .   Run: docker run --gpus all -v $PWD/data:/perception/data perception tools/train.py --help
# The CUDA release of the compiler must be that of the torch wheel: python -c "import torch; print(torch.version.cuda)".
ARG CUDA=13.0.1
FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git libgl1 libglib2.0-0 libusb-1.0-0 make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /perception
COPY pyproject.toml setup.py constraints.txt Makefile README.md ./
COPY csrc csrc
COPY perception perception
COPY configs configs
COPY tools tools

# The architectures that the kernels are tested to compile for.
ENV TORCH_CUDA_ARCH_LIST="8.0;9.0;10.0" PERCEPTION_MARCH=x86-64-v3
RUN make build

ENV PATH=/perception/.venv/bin:$PATH PYTHONPATH=/perception
ENTRYPOINT ["python"]
CMD ["tools/train.py", "--help"]
