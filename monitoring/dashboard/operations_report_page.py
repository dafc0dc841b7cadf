"""The operations report as a self-contained HTML file without scripts."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from monitoring.dashboard.operations_report import Chart, OperationsReport

_STYLE = mark_safe(
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "table{border-collapse:collapse;width:100%}td{padding:.25rem .5rem;border-bottom:1px solid #dde3ea}"
    "td+td{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;height:9rem}rect{fill:#2f6fdb}"
    "text{font-size:10px;fill:#5b6875}"
)
_WIDTH, _HEIGHT = 600, 120


def page(report: OperationsReport) -> SafeString:
    tables = ((table.title, format_html_join("", "<tr><td>{}<td>{}", table.rows)) for table in report.tables)
    return format_html(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{0}</title><style>{1}</style>"
        "<h1>{0}</h1><p>{2}</p>{3}{4}</html>",
        f"Directory, {report.period}",
        _STYLE,
        report.generated_at.isoformat(timespec="seconds"),
        format_html_join("", "{}", ((_chart(chart),) for chart in report.charts)),
        format_html_join("", "<h2>{}</h2><table>{}</table>", tables),
    )


def _chart(chart: Chart) -> SafeString:
    """Return an SVG chart with a bar for each day; the bar's tooltip shows the day and the value."""
    highest = max([1.0, *(value for _, value in chart.points)])
    step = _WIDTH / max(len(chart.points), 1)
    bars = (
        (f"{number * step:.1f}", f"{_HEIGHT * (1 - value / highest):.1f}", f"{step * 0.8:.1f}",
         f"{_HEIGHT * value / highest:.1f}", day, f"{value:g}")
        for number, (day, value) in enumerate(chart.points)
    )  # fmt: skip
    return format_html(
        '<h2>{}</h2><svg viewBox="0 -12 {} {}" role=img>{}<text x=0 y=-2>{}</text><text x=0 y={}>{}</text></svg>',
        chart.title,
        _WIDTH,
        _HEIGHT + 30,
        format_html_join("", "<rect x={} y={} width={} height={}><title>{}: {}</title></rect>", bars),
        f"{highest:g}",
        _HEIGHT + 14,
        f"{chart.points[0][0]} – {chart.points[-1][0]}" if chart.points else "",
    )
