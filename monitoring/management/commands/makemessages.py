from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Django's own, which knows T() and Sentence() for a text too."""

    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=T", "--keyword=Sentence"]
