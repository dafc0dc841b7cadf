import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.phones import masked, normalize

# The area codes of Russia and Kazakhstan, by libphonenumber 9.0.43.
AREAS = [
    *(301, 302, 336, 341, 342, 343, 345, 346, 347, 349, 351, 352, 353, 365, *range(381, 386), 388, 390, 391, 394, 395),
    *(401, 411, 413, 415, 416, 421, 423, 424, 426, 427, *range(471, 476), *range(481, 488), *range(491, 497), 498, 499),
    *(700, 701, 702, 705, 706, 707, 708, *range(710, 719), *range(721, 730), 747, 751, *range(760, 765), 771),
    *(*range(775, 779), 785, 800, 803, 804, 808, 809, *range(811, 819), 820, 821, 831, *range(833, 837)),
    *(*range(840, 849), 851, 855, 856, 857, *range(860, 864), 865, 866, 867, 869, 871, 872, 873, 877, 878, 879),
    *range(900, 1000),
]
SPELLINGS = [
    *("8. (916) 1234567", "8.(916) 123.45.67", "8.916 123.45.67"),
    *("916.123.45.67", "8 (916) 123.45.67", "8.916.123-45-67", "8 916 123-45-67.", "8. 916. 123. 45. 67"),
    *("91-61-23-45-67", "8 91 61 23 45 67", "9161-23-45-67", "8916-12-34-567", "8 916 123 4567"),
    "+79161234567",
    "79161234567",
    "89161234567",
    "9161234567",
    "8 916 123-45-67",
    "+7 (916) 123 45 67",
    "8(916)123-45-67",
    "+7\u00a0916\u00a0123–45–67",
    "8.916.123.45.67",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_russian_spellings_are_one_phone(spelling: str) -> None:
    assert normalize(spelling) == "+79161234567"


@pytest.mark.parametrize("spelling", ["8 (4852) 12-10-24", "(4852) 12-10-24", "8-4852-12-10-24"])
def test_six_digits_in_pairs_are_no_date(spelling: str) -> None:
    assert normalize(spelling) == "+74852121024"


@pytest.mark.parametrize("spelling", ["+33.1.23.45.67.89", "+33 1.23.45.67.89", "+33 (0)1 23 45 67 89"])
def test_dots_of_foreign_numbers(spelling: str) -> None:
    assert normalize(spelling) == "+33123456789"


@pytest.mark.parametrize("phone", ["+1234567890", "+12345678", "+123456789012345", "+375291234567"])
def test_other_numbers_are_taken_as_e164(phone: str) -> None:
    assert normalize(phone) == phone


@pytest.mark.parametrize(
    "spelling",
    ["", "+", "123", "1234567", "12345678901", "+1234567", "+1234567890123456", "+7916123456", "+791612345678",
     "٩١٦١٢٣٤٥٦٧", "8916123456a", "+0123456789", "phone", "++79161234567", "8" * 100,
     "(812) 123-45-67.0", "8.1212345678", "812123.4567", "8121234567.5", "01.01.2024 10", "2024.01.01 10",
     "(-8121234567)", "+-8121234567", "-8 812 123-45-67", "1/1/2024"],
)  # fmt: skip
def test_it_refuses_what_is_no_phone(spelling: str) -> None:
    with pytest.raises(ValueError, match="Enter a Russian phone"):
        normalize(spelling)


@pytest.mark.parametrize(
    "spelling",
    [
        "192.168.10.12",
        "192.168.10.12.",
        "(192.168.10.12)",
        "10.192.168.101",
        "71.192.168.101",
        "10.30 01.02.24",
        "95-01-02 10-30",
        "1.31.24 10.30.05",
    ],
)
def test_it_refuses_addresses_and_short_dates(spelling: str) -> None:
    with pytest.raises(ValueError, match="Enter a Russian phone"):
        normalize(spelling)


@pytest.mark.parametrize(
    "spelling",
    [
        *("01.02.24-10.30", "01-02-24-10-30", "01.02.24.10.30", "10-30-01-02-24", "5-7.02.24 10.30", "20240101-10"),
        *("01.02-05.02.24", "7.12.23-31.1.24", "1-12-23-31-1-24", "01-02-05-02-24", "01.12.23 – 5.1.24"),
        *("8.2023-12.2024", "8-2023-12-2024", "2023-09-2024", "2023.1-2024.12", "2023-2024-10"),
        *("9.00.00-18.00.00", "09.00-18.00-10", "10.30.05-11.30", "04.11.08.1104"),
        *("8121234567.0.", "8121234567. 0", "(8121234567.0)", "8121234567 .0", ".8121234567", "(. 8121234567"),
        *("123.45-678.90", "812123456.0.0", "1.2.3.4.5.6.7.8.9.0", "10.0.0.1-10.0.0.5"),
    ],
)
def test_it_refuses_ranges_and_decimals(spelling: str) -> None:
    with pytest.raises(ValueError, match="Enter a Russian phone"):
        normalize(spelling)


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31))  # noqa: DTZ001
PARTS = ["{0.day}{1}{0.month}{1}{0:%y}", "{0.day}{1}{0.month}", "{0.month}{1}{0.year}", "{0:%H}{1}{0:%M}", "{0.year}"]
DASHES = st.sampled_from(["-", "\u2013", " - ", "\u2212"])


@given(
    st.tuples(MOMENTS, st.sampled_from(PARTS)),
    st.tuples(MOMENTS, st.sampled_from(PARTS)),
    st.sampled_from(".-"),
    DASHES,
)
def test_no_range_of_dates_or_times_is_a_phone(
    first: tuple[datetime, str], last: tuple[datetime, str], separator: str, dash: str
) -> None:
    text = dash.join(part.format(moment, separator) for moment, part in (first, last))
    for spelling in (text, f"{text}{dash}10"):
        with pytest.raises(ValueError, match="Enter a Russian phone"):
            normalize(spelling)


@given(st.integers(10**9, 10**10 - 1), st.sampled_from("0123456789"), st.text(" .)-", max_size=3))
def test_no_decimals_make_another_phone(number: int, decimal: str, rest: str) -> None:
    for spelling in (f"{number}.{decimal}", f"{number // 10}. {decimal}", f".{number}"):
        if spelling.endswith(".0") and not rest.strip():
            continue
        with pytest.raises(ValueError, match="Enter a Russian phone"):
            normalize(spelling + rest)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)),  # noqa: DTZ001
    st.sampled_from(["{0.day}{1}{0.month}{1}{0.year}", "{0:%d}{1}{0:%m}{1}{0:%y}", "{0.year}{1}{0.month}{1}{0.day}"]),
    st.sampled_from([".", "-", "\u2013"]),
    st.sampled_from(["%H.%M", "%H-%M", "%H", "%H.%M.%S"]),
)
def test_no_date_with_a_time_is_a_phone(time: datetime, spelling: str, separator: str, clock: str) -> None:
    with pytest.raises(ValueError, match="Enter a Russian phone"):
        normalize(f"{spelling.format(time, separator)} {time:{clock}}")


@given(st.sampled_from(AREAS), st.from_regex("[0-9]{7}", fullmatch=True), st.sampled_from("-. "))
def test_a_phone_in_groups_is_not_taken_for_a_date(area: int, rest: str, separator: str) -> None:
    digits = f"{area}{rest}"
    groups = separator.join(["8", digits[:3], digits[3:6], digits[6:8], digits[8:]])
    assert normalize(groups) == normalize(groups.removeprefix(f"8{separator}")) == f"+7{digits}"


@pytest.mark.parametrize(
    ("spelling", "phone"),
    [
        ("+49 (0) 170 1234567", "+491701234567"),
        ("+44(0)20 7946 0958", "+442079460958"),
        ("+7 (0) 916 123-45-67", "+79161234567"),
        ("(+353) (0)1 234 5678", "+35312345678"),
        ("+39 (0)6 1234 5678", "+390612345678"),
        ("+49 170 (0) 1234567", "+4917001234567"),
        ("+44 (020) 7946 0958", "+442079460958"),
        ("+44-(0 20)-7946-0958", "+442079460958"),
        ("+49 (0170) 1234567", "+491701234567"),
        ("+7 (0495) 123-45-67", "+74951234567"),
        ("+39 (06) 1234 5678", "+390612345678"),
        ("+225 (07) 12 34 56 78", "+2250712345678"),
    ],
)
def test_a_zero_that_is_dialled_within_a_country_is_dropped(spelling: str, phone: str) -> None:
    assert normalize(spelling) == phone


@pytest.mark.parametrize(
    ("spelling", "phone"),
    [
        ("+38 (063) 123-45-67", "+380631234567"),
        ("+38(067)1234567", "+380671234567"),
        ("+38-(099)-123-45-67", "+380991234567"),
        ("+38 (0482) 12-34-56", "+380482123456"),
        ("+3 8 (0) 63 123 45 67", "+380631234567"),
        ("+38 (0 63) 123 45 67", "+380631234567"),
        ("+380 (063) 123-45-67", "+380631234567"),
        ("+3 80 (063) 123-45-67", "+380631234567"),
        ("+375 (029) 123-45-67", "+375291234567"),
        ("+44 ((0)20) 7946 0958", "+442079460958"),
        ("+992 (07) 123 45 67", "+992071234567"),
        ("+992 88 123 45 67", "+992881234567"),
        ("+994 88 123 45 67", "+994881234567"),
        ("+380 800 123 4567", "+3808001234567"),
        ("+996 (800) 123 456", "+996800123456"),
        ("+372 8123 4567", "+37281234567"),
        ("+49 (0) 1512 3456 7890", "+49151234567890"),
        ("+43 (0)664 1234 56789", "+43664123456789"),
        ("+998 (88) 123 45 67", "+998881234567"),
        ("+370 (800) 12345", "+37080012345"),
    ],
)
def test_a_zero_that_completes_the_country_code_is_kept(spelling: str, phone: str) -> None:
    assert normalize(spelling) == phone


@pytest.mark.parametrize(
    "spelling",
    [
        *("+36 (06) 1 234 5678", "+36 (06 20) 123 4567", "+36 (06-20) 123 4567", "+36 (0) 20 123 4567"),
        *("+370 (8) 612 34567", "+370 (8 612) 34567", "+370 (8-612) 34567", "+370 (0 612) 34567"),
        *("+375 (8 029) 123-45-67", "+375 (80 29) 123-45-67", "+375 (8) 029 123-45-67", "+998 (8 71) 123 45 67"),
        *("+52 (01) 55 1234 5678", "+52 (01 55) 1234 5678", "+1 (1) 202 555 0100", "+1 (0) 202 555 0100"),
        *("+55 (015 11) 1234 5678", "+57 (03 1) 123 4567", "+7 (8) 916 123-45-67", "+34 (0) 91 123 45 67"),
        *("+49 (00) 170 1234567", "+49 (0) 0170 1234567", "+49 (0 170 1234567", "+49 (0049) 170 1234567"),
        *("+21 (0) 20 123 4567", "+8 (0916) 123-45-67", "+39 (0) 347 123 4567", "+39 (0) 02 1234 5678"),
        *("+992 (0) 91 712 3456", "+225 (0) 7 12 34 56 78", "+378 (0) 549 886377"),
        *(
            "+992 8 37 221 23 45",
            "+992 (8 37) 221 23 45",
            "+371 8 6712 3456",
            "+373 (8 22) 12 34 56",
            "+374 8 10 123456",
        ),
        *(
            "+994 (8 12) 123 45 67",
            "+995 8 32 212 34 56",
            "+996 8 312 12 34 56",
            "+380 8 044 1234567",
            "+372 8 5123 4567",
        ),
        *("+44 (0)20 7946 0958 123", "+44 (020) 7946 0958 123", "+7 (0) 916 123-45-67 8", "+33 (0)1 23 45 67 89 12"),
        *("+549 (0) 11 1234 5678", "+54 9 011 1234 5678", "+54 9 (011) 1234 5678", "+521 (01 55) 1234 5678"),
        *("+49 0170 1234567", "+44 07700 900123", "+36 06 20 123 4567", "+375 80 29 123 45 67", "+1 1 202 555 0100"),
        *(
            "+370 8 612 34567",
            "+998 8 71 123 45 67",
            "+380 067 123-45-67",
            "+380 (0) (067) 123-45-67",
            "+490170 1234567",
        ),
    ],
)
def test_it_refuses_other_national_prefixes(spelling: str) -> None:
    with pytest.raises(ValueError, match="Enter a Russian phone"):
        normalize(spelling)


# The list of ITU-T E.164 assigned country codes.
COUNTRY_CODES = [
    *(1, 7, 20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, *range(51, 59), *range(60, 67)),
    *(81, 82, 84, 86, *range(90, 96), 98, 211, 212, 213, 216, 218, *range(220, 259), *range(260, 270), 290, 291),
    *(297, 298, 299, *range(350, 360), *range(370, 384), 385, 386, 387, 389, 420, 421, 423, *range(500, 510)),
    *(*range(590, 600), 670, *range(672, 684), *range(685, 693), 800, 808, 850, 852, 853, 855, 856, 870, 878),
    *(880, 881, 882, 883, 886, 888, *range(960, 969), *range(970, 978), 979, *range(992, 997), 998),
]


def country_of(digits: str) -> str:
    return next((code for code in map(str, COUNTRY_CODES) if digits.startswith(code)), "")


@given(
    st.one_of(st.sampled_from(COUNTRY_CODES), st.integers(1, 999)),
    st.from_regex(r"\+[ (]?\{\}(?:[ )]?[ -]?\([ ]?[0-9]( ?[0-9]){0,4}\)[ -]?|[)]?[ -])", fullmatch=True),
    st.integers(10**4, 10**9),
)
def test_punctuation_never_changes_the_country(code: int, spelling: str, rest: int) -> None:
    text = f"{spelling.format(code)}{rest}"
    try:
        phone = normalize(text)
    except ValueError:
        return
    digits = re.sub("[^0-9]", "", text)
    assert country_of(phone[1:]) == ("380" if digits.startswith("380") else country_of(str(code)))
    # Nothing but one zero behind a complete code is dropped.
    assert phone[1:] in (digits, digits.replace(f"{code}0", str(code), 1) if code in COUNTRY_CODES else digits)


def result_of(text: str) -> str | None:
    try:
        return normalize(text)
    except ValueError:
        return None


# Of a number with the country code c and an area code a, all that people write, and what it must become.
WHOLE = [
    *(
        "+{c}{a}{n}",
        "+{c} {a} {n}",
        "+{c}-{a}-{n}",
        "+{c} ({a}) {n}",
        "+{c}({a}){n}",
        "(+{c}) {a} {n}",
        "+({c}) {a} {n}",
    ),
    *(
        "+ {c} {a}{n}",
        "+{c}{a} {n}",
        "(+{c} {a} {n})",
        "+{c} ({a}{n})",
        "+{c}–{a}–{n}",
        "'+{c} {a} {n}",
        "+{c}.{a}.{n}.12",
    ),
]
WITH_ZERO = ["+{c} (0) {a} {n}", "+{c}(0){a}{n}", "+{c} (0{a}) {n}", "+({c})(0{a}){n}", "(+{c}) (0)-{a}-{n}"]
WITH_A_BARE_ZERO = [
    *("+{c} 0{a} {n}", "+{c}-0{a}-{n}", "+{c}0{a} {n}", "+{c} 0 {a} {n}", "(+{c}) 0{a} {n}", "+{c} (0 {a} {n}"),
]
WITH_TOO_MUCH = [
    *("+{c} (00{a}) {n}", "+{c} (0) 0{a} {n}", "+{c} 00{a} {n}", "+{c} {a} {n} (5)", "+{c} ({a}) {n} (12)"),
    *("+{c}{a}{n}(12", "(+{c}) {a} {n} (1 2).", "+{c} {a} {n} (12 ()"),
]
ZERO_IS_DIGIT = {39, 225, 226, 227, 229, 241, 242, 247, 378, 800, 881, 888, 992}


@pytest.mark.parametrize("notation", WHOLE)
def test_a_number_of_any_country_is_read_as_it_is(notation: str) -> None:
    for code in COUNTRY_CODES:
        text = notation.format(c=code, a="345", n="6789123")
        is_too_long = code == 7 and notation.endswith(".12")
        assert result_of(text) == (None if is_too_long else f"+{re.sub('[^0-9]', '', text)}"), text


@pytest.mark.parametrize("notation", WITH_ZERO)
def test_a_zero_in_parentheses_is_dropped_or_refused(notation: str) -> None:
    number = {code: result_of(notation.format(c=code, a="345", n="6789123")) for code in COUNTRY_CODES}
    kept = {code for code in COUNTRY_CODES if number[code] == f"+{code}03456789123"}
    dropped = {code for code in COUNTRY_CODES if number[code] == f"+{code}3456789123"}
    assert kept == (ZERO_IS_DIGIT if "0{a}" in notation else set())
    assert dropped >= {7, 20, 27, 33, 41, 44, 49, 81, 86, 90, 353, 380, 972, 995}
    assert not dropped & {1, 34, 36, 45, 370, 371, 372, 998, *ZERO_IS_DIGIT}
    assert not {code for code in number if number[code]} - kept - dropped


@pytest.mark.parametrize("notation", WITH_A_BARE_ZERO)
def test_a_zero_without_parentheses_is_a_digit_or_refused(notation: str) -> None:
    number = {code: result_of(notation.format(c=code, a="345", n="6789123")) for code in COUNTRY_CODES}
    assert {code: found for code, found in number.items() if found} == {c: f"+{c}03456789123" for c in ZERO_IS_DIGIT}


@pytest.mark.parametrize("notation", WITH_TOO_MUCH)
def test_two_zeros_and_an_extension_are_refused(notation: str) -> None:
    assert not [code for code in COUNTRY_CODES if result_of(notation.format(c=code, a="345", n="6789123"))]


BEHIND_A_PART = [
    *(
        "+{c} ({a}) {n}",
        "+{c}({a}){n}",
        "+{c} {a} {n}",
        "+{c}-{a}-{n}",
        "(+{c}) {a} {n}",
        "+({c}){a}{n}",
        "+ {c} {a}{n}",
    ),
    *("+{c} (0{a}) {n}", "+{c}(0{a}){n}", "+{c} 0{a} {n}", "+{c} (0) {a} {n}", "+{c}-(0)-{a}-{n}", "+{c}({a}{n})"),
]


@pytest.mark.long
@pytest.mark.parametrize("notation", BEHIND_A_PART)
def test_a_part_of_a_country_code_is_no_code(notation: str) -> None:
    """Test all beginnings of codes with all area codes for 8 and 38, that people in Russia and Ukraine write.

    Only 38 before a zero is certain: this is 380 of Ukraine.
    """
    codes = set(map(str, COUNTRY_CODES))
    parts = {code[:length] for code in codes for length in (1, 2) if length < len(code)} - codes
    areas = dict.fromkeys(parts, range(100, 1000, 61)) | dict.fromkeys(("8", "38"), range(100, 1000))
    for part in sorted(parts):
        for area in areas[part]:
            text = notation.format(c=part, a=area, n="1234567")
            digits = re.sub("[^0-9]", "", text)
            assert result_of(text) == (f"+{digits}" if digits.startswith("380") else None), text


@pytest.mark.parametrize(
    "spelling",
    [
        *("+8495 123-45-67", "+8812 123-45-67", "+8862 212-34-56", "8 495 123 456", "8\u00a0812\u00a0123\u00a0456"),
        *("+8 (495) 123-45-67", "+8 (812) 123-45-67", "+8 (863) 123-45-67", "+8 495 123-45-67", "+8-916-123-45-67"),
        *("+38 (67) 123-45-67", "+38 (63) 123-45-67", "+38 67 123 45 67", "+37 (029) 123 45 67", "+35 (040) 1234567"),
        *("+42 (0905) 123 456", "+8916 123-45-67", "(+8) 495 123-45-67", "+ 8 495 123 45 67", "+8 10 49 170 1234567"),
        *("+44 20 7946 0958 (12)", "+1 (202) 555-0100 (5)", "+43 664 123456 (12)", "8 916 123-45 (67)"),
    ],
)
def test_it_refuses_what_may_be_another_number(spelling: str) -> None:
    with pytest.raises(ValueError, match="with \\+ and its country code"):
        normalize(spelling)


@pytest.mark.parametrize(
    "spelling",
    [
        # Belarus, Ukraine, France, Germany, and the prefixes 00 and 8 10 of international calls
        *("8 (029) 123-45-67", "80291234567", "8 (044) 123-45-67", "063 123 45 67", "(063) 123-45-67", "0631234567"),
        *("06 12 34 56 78", "0170 123456", "1701234567", "00247 40123", "8 10 247 40123", "7 (029) 123-45-67"),
        # a missing digit
        *("8 916 123 45 6", "7916123456", "8 (916) 123-45-6", "8916123456", "8 495 123-45-6", "8 (4852) 12-10-2"),
        *("(8) 495 123-45-6", "7-812-123-45-6", "8 916 091-30-2"),
        *("8495 123-456", "8495123456", "(8812) 123-456", "8812123456", "8800 555-35-3", "7495 123-456", "7812123456"),
        # a digit too many
        *("(863) 234-56-788", "843 123-45-67 5", "852-1234-5678", "855 12 345 678", "891 612 345 67", "716-123-45-678"),
    ],
)
def test_it_refuses_what_is_no_russian_number(spelling: str) -> None:
    with pytest.raises(ValueError, match="all ten digits"):
        normalize(spelling)


@given(
    st.from_regex("[0-9]{10}", fullmatch=True)
    | st.tuples(st.sampled_from(AREAS), st.from_regex("[0-9]{7}", fullmatch=True)).map("{0[0]}{0[1]}".format),
    st.sampled_from(["{0}{1}{2}{3}", "{0} {1}-{2}-{3}", "({0}) {1}-{2}-{3}", "{0}-{1}-{2}-{3}", "{0} {1}{2}{3}"]),
)
def test_a_guessed_number_is_russian_or_refused(national: str, notation: str) -> None:
    text = notation.format(national[:3], national[3:6], national[6:8], national[8:])
    is_russian = national[0] > "2"
    assert result_of(f"8 {text}") == result_of(f"7{text}") == (f"+7{national}" if is_russian else None)
    assert result_of(text) == (f"+7{national}" if int(national[:3]) in AREAS else None)
    # What follows +7 is taken as it is, but a zero in parentheses is a prefix.
    assert result_of(f"+7 {text}") == (None if "(0" in text else f"+7{national}")
    assert result_of(f"+7{national}") == f"+7{national}"


@pytest.mark.parametrize(
    ("spelling", "phone"),
    [
        ("4951234567", "+74951234567"),
        ("8121234567", "+78121234567"),
        ("8431234567", "+78431234567"),
        ("(863) 234-56-78", "+78632345678"),
        ("(8342) 12-34-56", "+78342123456"),
        ("800 555-35-35", "+78005553535"),
        ("8 (495) 123-45-67", "+74951234567"),
        ("8800 555-35-35", "+78005553535"),
        ("89 161 234 567", "+79161234567"),
        ("747 123 45 67", "+77471234567"),
        # No area codes, but eleven digits.
        ("8 632 345-67-88", "+76323456788"),
        ("7 849 512-34-56", "+78495123456"),
        ("+78495123456", "+78495123456"),
    ],
)
def test_whole_numbers_with_and_without_a_prefix(spelling: str, phone: str) -> None:
    assert normalize(spelling) == phone


@given(st.from_regex("[78][3-9][0-9]{9}", fullmatch=True), st.sampled_from("-. "), st.integers(4, 10))
def test_three_digits_before_eight_others_are_no_prefix(digits: str, separator: str, cut: int) -> None:
    text = f"{digits[:3]} {digits[3:cut]}{separator}{digits[cut:]}"
    for spelling in (text, f"({digits[:3]}) {digits[3:cut]}{separator}{digits[cut:]}"):
        assert result_of(spelling) is None, spelling
    assert result_of(digits) == result_of(f"{digits[0]} {digits[1:]}") == f"+7{digits[1:]}"


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029", " \n\u200b\n "])
@pytest.mark.parametrize(
    "parts", ["512 34,512 35", "312-45-67,123", "8 916,123-45-67", "+7916,1234567", "8,9161234567"]
)
def test_lines_are_not_joined(parts: str, line_break: str) -> None:
    assert result_of(parts.replace(",", line_break)) is None
    assert normalize(f"{line_break}8 916 123-45-67{line_break}") == "+79161234567"


@pytest.mark.parametrize("phone", ["+70000000000", "+4901701234567", "+84951234567", "+38671234567", "+549011123456"])
def test_a_phone_as_it_is_stored_is_taken_as_it_is(phone: str) -> None:
    assert normalize(phone) == phone


@given(st.text())
def test_it_is_stable_or_refuses(text: str) -> None:
    try:
        phone = normalize(text)
    except ValueError:
        return
    assert normalize(phone) == phone


def test_logs_see_two_digits() -> None:
    assert masked("+79161234567") == "…67"
