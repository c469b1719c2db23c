# syntax=docker/dockerfile:1
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY requirements/install.txt requirements/run.txt requirements/
RUN --mount=type=cache,target=/cache \
    export XDG_CACHE_HOME=/cache \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --quiet --require-hashes -r requirements/install.txt \
 && python3 -m venv --without-pip /opt/fileroom \
 && /opt/build/bin/uv pip install --python /opt/fileroom/bin/python --link-mode copy \
        --compile-bytecode --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY alembic alembic
RUN --mount=type=cache,target=/cache \
    export XDG_CACHE_HOME=/cache \
 && /opt/build/bin/uv build --quiet --wheel --no-build-isolation \
        --python /opt/build/bin/python --out-dir dist \
 && /opt/build/bin/uv pip install --python /opt/fileroom/bin/python --link-mode copy \
        --compile-bytecode --no-deps dist/*.whl

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Fileroom" \
      org.opencontainers.image.description="A DICOMweb archive (PACS)" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 fileroom \
 && useradd --uid 10001 --gid fileroom --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin fileroom \
 && install -d -o fileroom -g fileroom -m 0700 /data
COPY --from=build /opt/fileroom /opt/fileroom
ENV PATH=/opt/fileroom/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    FILEROOM_DATA_DIR=/data \
    FILEROOM_HTTP__HOST=0.0.0.0 \
    FILEROOM_HTTP__PORT=8080
USER fileroom
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['FILEROOM_HTTP__PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["fileroom"]
CMD ["serve"]
