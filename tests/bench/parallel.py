"""Creates one phone in eight spellings at once, for 200 phones: each gives one 201 and seven 409.

``python -m tests.servers python -m tests.bench.parallel [phones]``
"""

import socket
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.bench.rows import migrate

# isort: split
from employees.models import Employee, University
from tests.bench.employees import Client, answer_of, free_port, new_token, serve

PHONES = int(sys.argv[1]) if len(sys.argv) > 1 else 200


def spelled(number: int, spelling: int) -> str:
    digits = f"916{number:07}"
    grouped = f"({digits[:3]}) {digits[3:6]}-{digits[6:8]}-{digits[8:]}"
    forms = [
        f"8{digits}", f"7{digits}", f"+7{digits}", digits, f"8 {grouped}", f"+7 {grouped}", grouped, f"7-{grouped}",
    ]  # fmt: skip
    return forms[spelling]


def main() -> None:
    migrate()
    university = University.objects.create(name="Университет")
    token = new_token()
    port = free_port()
    server = serve("config.wsgi:application", port)
    together = threading.Barrier(8)
    statuses: list[Counter[int]] = [Counter() for _ in range(PHONES)]

    def one(spelling: int) -> None:
        def body(number: int) -> dict[str, object]:
            names = {"first_name": "Иван", "last_name": "Петров"}
            return names | {"phone": spelled(number, spelling), "university_id": university.pk}

        client = Client(port, "/employees", body, token)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for number in range(PHONES):
                together.wait()
                connection.sendall(client.request(number))
                statuses[number][answer_of(connection)] += 1

    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(8)))
    finally:
        server.terminate()
    report(statuses)


def report(statuses: list[Counter[int]]) -> None:
    good = sum(counts == Counter({201: 1, 409: 7}) for counts in statuses)
    sys.stdout.write(
        f"{good} of {PHONES} phones: one 201 and seven 409; all statuses {dict(sum(statuses, Counter()))}, "
        f"{Employee.objects.count()} employees\n"
    )
    sys.exit(good != PHONES)


if __name__ == "__main__":
    main()
