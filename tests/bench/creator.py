"""Creates employees one after the other; for each line on stdin it prints ``count p50 p99`` since the last, in ms.

Requests pass the whole API except the HTTP server.
"""

import select
import statistics
import sys
import time

from tests.bench import rows

# isort: split
from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from employees.credentials.models import LogIn
from employees.credentials.tokens import access_token
from employees.models import University


def main() -> None:
    settings.ALLOWED_HOSTS = ["*"]
    client = APIClient()
    log_in = LogIn.objects.start(User.objects.create_superuser("creator"))
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(log_in)}")
    university = University.objects.order_by("pk")[0].pk
    number, took = 0, []
    rows.run("SELECT 1")
    while True:
        number += 1
        body = {"phone": f"+1{number:010}", "first_name": "А", "last_name": "Б", "university_id": university}
        started = time.perf_counter()
        answer = client.post("/employees", body, format="json")
        took.append((time.perf_counter() - started) * 1000)
        if answer.status_code != 201:
            raise SystemExit(answer.content.decode())
        if select.select([sys.stdin], [], [], 0.005)[0]:
            if not sys.stdin.readline():
                return
            sys.stdout.write(f"{len(took)} {statistics.median(took)} {statistics.quantiles(took, n=100)[98]}\n")
            sys.stdout.flush()
            took = []


if __name__ == "__main__":
    main()
