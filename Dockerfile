# syntax=docker/dockerfile:1
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY requirements/install.txt requirements/run.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/install.txt \
 && python -m venv --without-pip /opt/fileroom \
 && /opt/build/bin/uv pip install --no-cache --python /opt/fileroom/bin/python \
        --require-hashes --compile-bytecode -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY alembic alembic
RUN /opt/build/bin/uv build --no-cache --wheel --no-build-isolation \
        --python /opt/build/bin/python --out-dir dist \
 && /opt/build/bin/uv pip install --no-cache --python /opt/fileroom/bin/python \
        --no-deps --compile-bytecode dist/*.whl

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Fileroom" \
      org.opencontainers.image.description="A DICOMweb archive (PACS)" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 fileroom \
 && useradd --uid 10001 --gid fileroom --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin fileroom \
 && install -d -o fileroom -g fileroom -m 0700 /data
COPY --from=build /opt/fileroom /opt/fileroom
ENV PATH=/opt/fileroom/bin:$PATH \
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
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['FILEROOM_HTTP__PORT']}/health/ready\", timeout=4)"]
ENTRYPOINT ["fileroom"]
CMD ["serve"]
