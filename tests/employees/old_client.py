"""Old code beside a migration, in a process of its own: creates employees and reads them, and times each create.

Run with a connection string; each line on stdin is answered with ``created worst_ms`` since the last one.
"""

import select
import sys
import time

import psycopg

# What code from before the migration sends: it does not name the columns that came later, and asks for none of them.
OLD_INSERT = """
    INSERT INTO employees (phone, first_name, last_name, middle_name, role, university_id, created_at, updated_at)
    VALUES (%s, 'Иван', 'Петров', '', '', (SELECT min(id) FROM universities), now(), now())
"""
OLD_SELECT = """
    SELECT id, phone, first_name, last_name, middle_name, max_id, max_id_updated_at, role, university_id, created_at,
        updated_at FROM employees WHERE phone = %s
"""


def main() -> None:
    created, worst_ms = 0, 0.0
    with psycopg.connect(sys.argv[1], autocommit=True) as database:
        while True:
            started = time.perf_counter()
            database.execute(OLD_INSERT, [f"+1{created:010}"])
            worst_ms = max(worst_ms, (time.perf_counter() - started) * 1000)
            if database.execute(OLD_SELECT, [f"+1{created:010}"]).fetchone() is None:
                raise LookupError(created)
            created += 1
            if select.select([sys.stdin], [], [], 0.001)[0]:
                if not sys.stdin.readline():
                    return
                sys.stdout.write(f"{created} {worst_ms}\n")
                sys.stdout.flush()
                worst_ms = 0.0


if __name__ == "__main__":
    main()
