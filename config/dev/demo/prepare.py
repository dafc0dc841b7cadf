"""Prepare the demo: schema, users and two weeks of history; the last line of stdout is JSON for the supervisor."""

import json
import sys

import django
from django.core.management import call_command


def main() -> None:
    django.setup()
    call_command("migrate", interactive=False, stdout=sys.stderr)
    # Models can be imported only now.
    from config.dev.demo import history, users  # noqa: PLC0415
    from employees.models import University  # noqa: PLC0415

    if not University.objects.exists():
        history.generate()
    prepared = {
        "key": users.new_service_key(),
        "universities": list(University.objects.order_by("pk").values_list("pk", flat=True)),
        "log_ins": {name: (users.password_of(name), what) for name, (what, _) in users.LOG_INS.items()},
    }
    sys.stdout.write(json.dumps(prepared) + "\n")


if __name__ == "__main__":
    main()
