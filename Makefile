PYTHON ?= python3
PY := .venv/bin/python
# With an empty HOME, pip would use the root of the file system.
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input $(if $(HOME),,--no-cache-dir)

# While `make run` is in development mode, so is manage.py.
MODE = ! grep -qs ^DEBUG "$${DATA_DIR:-.data}/running.env" || export DEBUG="$${DEBUG:-true}";
COMPILE = $(PY) -m uv pip compile --quiet --system-certs --universal --generate-hashes --no-strip-extras --no-emit-index-url \
	--python-version 3.11 --custom-compile-command 'make lock' $(ARGS)

# Tests spend half of their time waiting, so three workers keep two cores busy. They start fifty processes, so Python
# must write compiled modules (PYTHONDONTWRITEBYTECODE).
PARALLEL = -n 3 --dist loadgroup
# With the fault runs and full matrices that `make test` leaves out.
WHOLE = -m ''

.DEFAULT_GOAL := help
.PHONY: help run demo test test-long test-webhook test-profile-integration test-integration test-upgrade test-backward-compatibility \
	test-performance test-guide test-walkthrough test-chaos soak test-sigterm test-slow-senders test-deploy test-stores test-hosts test-migrations test-openapi test-e2e screenshots test-all fuzz audit \
	bench bench-directory bench-growth bench-monitoring bench-screens bench-sizes bench-erasure bench-releases bench-start lint messages openapi \
	migrate-up migrate-down deploy health logs redis-cli backup restore lock venv new-venv runtime development browser wrk fuzzer

help: ## print this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  %-28s %s\n' "$$name" "$$text"; done

run: runtime ## start the whole system; Ctrl-C stops it (PORT, HOST, DATA_DIR, WEB_WORKERS)
	@exec $(PY) -m config.dev.supervisor

demo: runtime ## start the whole system with two weeks of history and live traffic (SCENE=incident, ARGS=--fresh, PORT, HOST, DATA_DIR)
	@exec $(PY) -m config.dev.demo $(ARGS)

test: development ## run the suite without its long tests, with its own servers (ARGS=… for pytest)
	@PYTHONDONTWRITEBYTECODE= exec $(PY) -m pytest $(or $(ARGS),$(PARALLEL))

test-long: development ## run the tests that `make test` leaves out because they take over half a second
	@PYTHONDONTWRITEBYTECODE= exec $(PY) -m pytest -m 'long and not integration' $(or $(ARGS),$(PARALLEL))

test-webhook: development ## test the receiver, inbox, update types, bot commands, subscription
	@exec $(PY) -m pytest tests/webhooks $(ARGS)

test-profile-integration: development ## test where names come from: cache, direct API, rollout, new employees
	@exec $(PY) -m pytest tests/profiles tests/rollout tests/employees/test_create.py $(ARGS)

test-integration: development ## run the whole suite with all fault runs, matrices and examples (chaos, walkthrough, upgrades)
	@NAMES=full SCHEMA=full exec $(PY) -m pytest $(WHOLE) tests tests/upgrade $(ARGS)

test-upgrade: development ## upgrade from the previous release and go back, on one DATA_DIR (PREVIOUS=revision)
	@exec $(PY) -m pytest tests/upgrade $(ARGS)

test-backward-compatibility: development ## test the previous release on the new schema, legacy updates, the guide's SQL
	@exec $(PY) -m pytest $(WHOLE) tests/employees/test_migrations.py tests/employees/test_two_versions.py \
		tests/employees/test_guide_sql.py tests/webhooks/test_payloads.py tests/config/test_openapi.py $(ARGS)

test-performance: development ## measure the receiver against bare Django, and parallel creates
	$(PY) -m tests.bench $(ARGS)
	$(PY) -m tests.servers $(PY) -m tests.bench.parallel

test-guide: development ## run every command of docs/migration-guide.md, on its own system
	@GUIDE=full exec $(PY) -m pytest -q -s tests/guide $(ARGS)

test-deploy: development ## deploy by the documents on a Docker engine: upgrade under load, way back, backup, secrets, proxies
	@test -x .data/proxies/caddy || tests/deploy/proxies >/dev/null 2>&1 || true
	@exec $(PY) -m pytest $(WHOLE) -q -s -p no:randomly tests/deploy/test_docker.py tests/deploy/test_proxy.py --timeout 1800 \
		-rs $(ARGS)

test-stores: development ## run the whole system over PgBouncer, TLS, Sentinel and a promoted standby (skips what cannot be had)
	@command -v pgbouncer /usr/sbin/pgbouncer >/dev/null || apt-get install --yes --quiet=2 pgbouncer >/dev/null 2>&1 || true
	@command -v redis-server >/dev/null || apt-get install --yes --quiet=2 redis-server >/dev/null 2>&1 || true
	@test -x .data/newer-pgbouncer/pgbouncer || tests/stores/newer-pgbouncer >/dev/null 2>&1 || true
	@exec $(PY) -m pytest $(WHOLE) -q -s -p no:randomly tests/stores --timeout 900 -rs $(ARGS)

test-hosts: development ## run nine hosts in network namespaces: a stop, rate limits, hosts that are cut off or slow
	@exec $(PY) -m tests.hosts $(ARGS)

test-sigterm: development ## send SIGTERM to the web server under load, sixty times
	@SIGTERM_TIMES=60 exec $(PY) -m pytest $(WHOLE) -q -s tests/chaos/test_sigterm.py --timeout 900 $(ARGS)

test-slow-senders: development ## 2,000 clients that stop in the middle of a request or of its answer
	@SLOW_SENDERS=2000 SLOW_P99_MS=50 exec $(PY) -m pytest $(WHOLE) -q tests/chaos/test_slow_senders.py --timeout 900 $(ARGS)

test-all: ## run lint, the whole suite, the guide and the audit
	$(MAKE) --no-print-directory lint test test-integration test-guide audit

fuzz: fuzzer ## send a hundred thousand hostile updates, commands, spreadsheets and requests (half an hour to an hour; ARGS=… for pytest)
	@FUZZ=full $(PY) -m pytest -q -n 2 tests/fuzz tests/config/test_openapi.py --timeout 7200 $(ARGS)
	@DEBUG=true $(PY) -m tests.fuzz

test-openapi: development ## lint the OpenAPI schema, compile a TypeScript client, test each operation by schemathesis (needs npm)
	@exec $(PY) -m tests.openapi $(ARGS)

audit: development ## check the packages of requirements.txt for known vulnerabilities
	$(PY) -m pip_audit --requirement requirements.txt --require-hashes --disable-pip --strict --progress-spinner off $(ARGS)

test-walkthrough: development ## run the rollout from phase 1 to 4 and back, with 5,000 employees, and record it in docs
	@WALKTHROUGH=full RECORD_TO=docs/tutorial/rollout-walkthrough.md exec $(PY) -m pytest $(WHOLE) -q -s tests/walkthrough $(ARGS)

test-chaos: development ## inject faults into every part, for ten minutes under load (ARGS='--seed N --seconds N --only NAME')
	@exec $(PY) -m tests.chaos --seconds 600 $(ARGS)

soak: development ## half an hour of steady load; fails if memory, files, connections, logs, tables or times grow (ARGS='--minutes N')
	@exec $(PY) -m tests.chaos.soak $(ARGS)

bench: development wrk ## measure the receiver against a bare Django view and an earlier release (PREVIOUS=revision ARGS=--json)
	@exec $(PY) -m tests.bench $(if $(PREVIOUS),--previous $(PREVIOUS)) $(ARGS)

bench-releases: development wrk ## measure each path against an earlier release (PREVIOUS=revision), with wrk
	@exec $(PY) -m tests.bench.releases $(PREVIOUS) $(ARGS)

bench-start: development ## measure how long `make run` takes to start, to do the main job, and to stop
	@PYTHONPATH=. $(PY) .ci/smoke.py .

test-e2e: browser ## test the admin in a browser (Debian's chromium), and accessibility by axe
	@exec $(PY) -m pytest tests/e2e --timeout 300 $(ARGS)

screenshots: browser ## take screenshots of every page, 1400 and 390 wide, light and dark (ARGS='--into DIR --only NAME')
	@DJANGO_ALLOW_ASYNC_UNSAFE=1 exec $(PY) -m tests.servers $(PY) -m tests.e2e.screenshots $(ARGS)

test-migrations: development ## migrate a million employees forward and back under load
	@MIGRATION_ROWS=1000000 $(PY) -m pytest $(WHOLE) tests/employees/test_migrations.py tests/employees/test_two_versions.py \
		-s $(ARGS)

lint: development ## check style, types, import layers, missing migrations
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	DEBUG=true ENV_FILE=/dev/null $(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m tests.servers $(PY) manage.py makemigrations --check --dry-run

bench-directory: development ## measure creates, searches and the backfill with a million employees
	$(PY) -m tests.servers $(PY) -m tests.bench.employees
	$(PY) -m tests.servers $(PY) -m tests.bench.parallel
	$(PY) -m tests.servers $(PY) -m tests.bench.search
	$(PY) -m tests.servers $(PY) -m tests.bench.backfill

messages: development ## collect the texts into the Russian catalogue and compile it (needs gettext)
	DEBUG=true ENV_FILE=/dev/null $(PY) manage.py makemessages --locale ru --no-location --no-obsolete --no-wrap \
		--ignore tests --ignore staticfiles --ignore .data --ignore .venv
	msgattrib --only-fuzzy --no-wrap locale/ru/LC_MESSAGES/django.po
	msgattrib --untranslated --no-wrap locale/ru/LC_MESSAGES/django.po
	DEBUG=true ENV_FILE=/dev/null $(PY) manage.py compilemessages --locale ru --ignore .venv

bench-screens: development ## measure the admin pages with a million employees, profiles and updates
	$(PY) -m tests.servers $(PY) -m tests.bench.screens $(ARGS)

bench-monitoring: development ## measure each report with a thousand and a million people (ARGS=5000000)
	$(PY) -m tests.servers $(PY) -m tests.bench.monitoring $(ARGS)

bench-sizes: development ## measure bytes per row in PostgreSQL and Redis, and growth (ARGS=ROWS)
	$(PY) -m tests.servers $(PY) -m tests.bench.sizes $(ARGS)

bench-growth: development ## measure 90 days of the inbox, compressed in time (ARGS='--rows N --days N')
	@exec $(PY) -m tests.bench.growth $(ARGS)

bench-erasure: development ## measure the erasure of a person with a million updates in the inbox (ARGS=ROWS)
	$(PY) -m tests.servers $(PY) -m tests.bench.erasure $(ARGS)

openapi: development ## rewrite openapi.json
	$(PY) -m tests.servers $(PY) manage.py spectacular --format openapi-json --lang en --file openapi.json

migrate-up: runtime ## apply the migrations
	@$(MODE) $(PY) manage.py migrate

migrate-down: runtime ## rename the profile_source columns away; migrate-up restores them (ARGS='--reason "…" --dry-run')
	@$(MODE) $(PY) manage.py rollback schema $(ARGS)

deploy: runtime ## migrate, collect static files, check, and reload the `make run` of DATA_DIR
	@$(MODE) $(PY) manage.py migrate --no-input
	@$(MODE) $(PY) manage.py collectstatic --no-input --verbosity 0
	@$(MODE) $(PY) manage.py check --deploy
	@$(PY) -m config.dev.console reload

health: runtime ## print the state of each component: web, stores, processes, inbox, rollout, alerts
	@$(MODE) $(PY) manage.py health

logs: ## follow the logs of DATA_DIR
	@test -d "$${DATA_DIR:-.data}/logs" || { \
		echo "There are no logs in $${DATA_DIR:-.data}: start \`make run\`, or set DATA_DIR" >&2; exit 1; }
	@exec tail -n 20 -F "$${DATA_DIR:-.data}"/logs/*.log

redis-cli: runtime ## run a Redis command: make redis-cli ARGS='GET profile:user:test'
	@$(PY) -m config.dev.console redis

backup: runtime ## write a dump of the database (FILE=…, by default in DATA_DIR/backups)
	@exec $(PY) -m config.dev.backup create

restore: runtime ## replace the database of a new system by a dump (FILE=…; REPLACE=yes also replaces one with data)
	@exec $(PY) -m config.dev.backup restore

lock: development ## rewrite requirements.txt and the other requirements files from pyproject.toml
	$(PIP) uv
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) pyproject.toml --extra otel -c requirements.txt -o requirements-otel.txt
	$(COMPILE) pyproject.toml --extra otel --group dev -c requirements-otel.txt -o requirements-dev.txt
	$(COMPILE) --group e2e -c requirements-dev.txt -o requirements-e2e.txt
	$(COMPILE) --group fuzz -c requirements-dev.txt -o requirements-fuzz.txt

venv:
	@$(PY) -c 'import pip' 2>/dev/null || $(MAKE) --no-print-directory new-venv

new-venv:
	@command -v $(PYTHON) >/dev/null || { echo 'Python is missing: install Python 3.11 or newer, with venv' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$$($(PYTHON) -V) is too old: install Python 3.11 or newer, or name one by PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo 'Python has no venv: install it (Debian, Ubuntu: apt install python3-venv)' >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv

# .venv has a copy of the installed list, so that only a changed list is installed again.
runtime: venv
	@cmp -s requirements.txt .venv/requirements.txt || { echo 'Installing requirements.txt' && \
		$(PIP) --require-hashes -r requirements.txt && cp requirements.txt .venv/; }

development: venv
	@cmp -s requirements-dev.txt .venv/requirements-dev.txt || { echo 'Installing requirements-dev.txt' && \
		$(PIP) --require-hashes -r requirements-dev.txt && cp requirements-dev.txt .venv/; }

browser: development
	@command -v chromium >/dev/null || { echo 'Installing chromium' && apt-get update --quiet=2 >/dev/null 2>&1; \
		apt-get install --yes --quiet=2 --no-install-recommends chromium >/dev/null 2>&1; } || \
		echo 'No chromium could be installed: browser tests are skipped' >&2
	@cmp -s requirements-e2e.txt .venv/requirements-e2e.txt || { echo 'Installing requirements-e2e.txt' && \
		$(PIP) --require-hashes -r requirements-e2e.txt && cp requirements-e2e.txt .venv/; }

wrk:
	@command -v wrk >/dev/null || { echo 'Installing wrk' && apt-get update --quiet=2 >/dev/null 2>&1; \
		apt-get install --yes --quiet=2 --no-install-recommends wrk >/dev/null 2>&1; } || true

fuzzer: development
	@cmp -s requirements-fuzz.txt .venv/requirements-fuzz.txt || { echo 'Installing requirements-fuzz.txt' && \
		$(PIP) --require-hashes -r requirements-fuzz.txt && cp requirements-fuzz.txt .venv/; }
