from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Extract the msgids in T() and Message() too."""

    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=T", "--keyword=Message"]
