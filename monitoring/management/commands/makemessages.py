from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Also extract the msgids in calls of T() and Message()."""

    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=T", "--keyword=Message"]
