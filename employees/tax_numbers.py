"""INN and KPP as the API, the import and the admin accept them: ASCII digits, or empty."""

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

validate_inn = RegexValidator(r"^([0-9]{10}|[0-9]{12})?\Z", _("Invalid INN “%(value)s”: enter 10 or 12 digits."))
validate_kpp = RegexValidator(r"^([0-9]{9})?\Z", _("Invalid KPP “%(value)s”: enter 9 digits."))
