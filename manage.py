#!/usr/bin/env python3
import os
import sys
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError
from django.utils import translation
from environ import Env

if __name__ == "__main__":
    if any("\udc80" <= letter <= "\udcff" for argument in sys.argv for letter in argument):
        sys.exit("manage.py: an argument is not UTF-8")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("PGAPPNAME", f"directory-{' '.join(sys.argv[1:2])}")
    # Commands use the mode and address of a running `make run`; its web processes do not read running.env.
    here = Path(__file__).parent
    data_dir = Path(os.environ.get("DATA_DIR") or here / ".data")
    Env.read_env(data_dir / "running.env")
    hint = f"nothing runs with {data_dir}: start `make run`"
    try:
        django.setup()
    except ImproperlyConfigured as error:
        files = (Path(os.environ.get("ENV_FILE", here / ".env")), data_dir / "services.env")
        is_stopped = "SECRET_KEY" in str(error) and "DEBUG" not in os.environ and not any(map(Path.is_file, files))
        sys.exit(f"manage.py: {error}" + f" ({hint})" * is_stopped)
    hint = "" if "DATABASE_URL" in os.environ else f"{hint}, or set its DATA_DIR or a DATABASE_URL"
    # Commands are in English; Russian is only for the admin and, depending on Accept-Language, the API.
    translation.activate("en")
    try:
        try:
            execute_from_command_line(sys.argv)
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        if end.code == 1 and hint:
            sys.stderr.write(f"{hint}\n")
        raise
    except BrokenPipeError:
        # The pipe is closed, as by `manage.py health | head -1`: avoid an error when the interpreter flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except DatabaseError as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"PostgreSQL: {str(error).splitlines()[0]}" + f" ({hint})" * bool(hint))
