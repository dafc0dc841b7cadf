"""Commands print texts of others as they are: without markup, codes of emoji, and line breaks in a file."""

import io
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from rich.console import Console
from rich.table import Table

from config.lib import terminal
from employees.models import Employee, University
from monitoring.rollout_control.terminal import rendered
from tests.conftest import Phases
from tests.profiles.people import add_profile

TEXT = ":smile: [bold]x[/] [/y] " + "очень длинное имя " * 20


def test_every_console_is_made_in_one_place() -> None:
    apps = ("config", "employees", "monitoring", "profiles", "webhooks")
    sources = [path for app in apps for path in (settings.BASE_DIR / app).rglob("*.py")]
    makers = {str(path.relative_to(settings.BASE_DIR)) for path in sources if "import Console" in path.read_text()}
    assert makers == {"config/lib/terminal.py"}


def test_a_text_is_printed_as_it_is() -> None:
    table, file = Table(box=None, pad_edge=False, show_header=False), io.StringIO()
    table.add_row(TEXT)
    for part in (TEXT, table):
        terminal.console(file).print(part)
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [TEXT.rstrip()] * 2
    assert ":smile: [bold]x[/] [/y]" in rendered([TEXT], has_colour=False)


def test_a_terminal_wraps_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60")
    file = io.StringIO()
    terminal.console(file).print(TEXT)
    assert max(map(len, file.getvalue().splitlines())) <= 60


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_a_preview_prints_the_names(university: University, phases: Phases) -> None:
    phases(100, 100, 100)
    name = "Ян" * 40
    Employee.objects.create(phone="+12025550100", max_id="7", university=university, profile_source="default")
    add_profile("7", ":smile:", name)
    University.objects.update(name=":heart: " + "вуз " * 30)
    file = io.StringIO()
    call_command("backfill", "start", "--dry-run", stdout=file)
    assert ":smile:" in file.getvalue()
    assert f":heart: {'вуз ' * 30}".strip() in file.getvalue()
    assert name in file.getvalue()


@pytest.mark.django_db
def test_a_file_may_have_any_name(tmp_path: Path, university: University) -> None:
    file = tmp_path / "[bold] [red][x] :smile:.csv"
    file.write_text(f"phone,university_name\n89161234567,{university.name}\n")
    out = io.StringIO()
    call_command("import_employees", str(file), stdout=out)
    assert out.getvalue().startswith("created: 1")
