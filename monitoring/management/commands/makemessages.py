from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Collect the texts of T() and Message() too."""

    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=T", "--keyword=Message"]
