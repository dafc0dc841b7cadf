from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Django's own command, which also extracts the texts of T() and Message()."""

    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=T", "--keyword=Message"]
