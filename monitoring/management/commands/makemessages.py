from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Django's own, which knows T() for a text too: tables of texts are shorter by it."""

    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=T"]
