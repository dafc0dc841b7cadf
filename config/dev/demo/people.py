"""The people of the demo. Each person is generated from a number alone, so that all parts of the demo agree on them."""

import random
from dataclasses import dataclass

UNIVERSITIES = (
    "Северо-Западный политехнический университет",
    "Приволжский гуманитарный университет",
    "Уральский технический университет",
    "Сибирский аграрный университет",
    "Южный медицинский университет",
    "Московский институт управления и права",
)
# The shares of the universities; the first is the largest.
_SIZES = (30, 22, 18, 13, 10, 7)
# No operator has this code, so that no phone of the demo belongs to anybody.
_CODE = "+7945"
# Phones are the numbers from 0 to _PRIME, mixed by a multiplication that person_of() reverses.
_PRIME, _FACTOR, _SHIFT = 9_999_991, 7_368_787, 1_234_567
# The number of people hired in the two weeks and before; the live traffic continues with the next person.
EMPLOYEES = 3000
MOST_PEOPLE = 1_000_000
_FIRST_ID = 210_000_000

_MEN = (  # noqa: SIM905 (names, not a list of quotes)
    "Александр Алексей Андрей Антон Артём Борис Вадим Виктор Владимир Глеб Григорий Денис Дмитрий Евгений Иван Игорь"
    " Илья Кирилл Константин Максим Михаил Николай Олег Павел Пётр Роман Семён Сергей Степан Фёдор Юрий Ярослав"
).split()
_WOMEN = (  # noqa: SIM905 (names, not a list of quotes)
    "Александра Алёна Анастасия Анна Валентина Валерия Вера Виктория Галина Дарья Евгения Екатерина Елена Ирина"
    " Ксения Лариса Лидия Любовь Людмила Маргарита Марина Мария Надежда Наталья Нина Ольга Полина Светлана София"
    " Тамара Татьяна Юлия"
).split()
# In the masculine; the feminine adds "а" or replaces "ий" and "ой" by "ая". Other surnames do not change.
_SURNAMES = (  # noqa: SIM905 (names, not a list of quotes)
    "Абрамов Алексеев Андреев Антонов Афанасьев Баранов Белов Беляев Богданов Борисов Васильев Виноградов Власов"
    " Волков Воробьёв Гаврилов Голубев Горбунов Григорьев Гусев Давыдов Данилов Дмитриев Егоров Ершов Жуков Зайцев"
    " Захаров Зуев Иванов Ильин Калинин Карпов Киселёв Ковалёв Козлов Комаров Королёв Крылов Кудрявцев Кузнецов"
    " Лебедев Макаров Максимов Мельников Морозов Никитин Николаев Новиков Орлов Павлов Петров Поляков Попов Романов"
    " Савельев Семёнов Сергеев Сидоров Смирнов Соколов Соловьёв Сорокин Степанов Тарасов Титов Тихонов Федотов"
    " Фомин Чернов Щербаков Яковлев Островский Покровский Раевский Троицкий Вишневский Луговой Полевой Толстой"
    " Бондаренко Шевченко Ткаченко Кравчук Мельничук"
).split()
_FATHERS = (  # noqa: SIM905 (names, not a list of quotes)
    "Александров Алексеев Андреев Борисов Викторов Владимиров Дмитриев Евгеньев Иванов Игорев Константинов Михайлов"
    " Николаев Олегов Павлов Петров Романов Семёнов Сергеев Фёдоров Юрьев"
).split()


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the demo; first, last and middle name are the official ones.

    ``account`` is the first and last name that the person entered in MAX, where the last name may be empty; None if the
    person does not use MAX. With ``hides_phone``, the direct API does not find the person. With ``writes``, the person
    sends messages to the bot. ``own_name`` is the name that the person writes in a message, or ``""``.
    """

    number: int
    first_name: str
    last_name: str
    middle_name: str
    university: int
    account: tuple[str, str] | None
    hides_phone: bool
    writes: bool
    own_name: str

    @property
    def phone(self) -> str:
        return f"{_CODE}{(self.number * _FACTOR + _SHIFT) % _PRIME:07d}"

    @property
    def user_id(self) -> str:
        return str(_FIRST_ID + self.number * _FACTOR % _PRIME)

    @property
    def direct_name(self) -> tuple[str, str] | None:
        """Return the name in the direct API, which spells ё as е; None if the direct API does not find the person."""
        if self.account is None or self.hides_phone:
            return None
        return self.account[0].replace("ё", "е"), self.account[1].replace("ё", "е")

    def other_name(self) -> tuple[str, str]:
        """Return the person's name in MAX, but with another last name.

        It simulates the name in a source that is wrong or out of date.
        """
        first, last = self.account or (self.first_name, self.last_name)
        is_woman, random_ = self.first_name in _WOMEN, random.Random(f"other {self.number}")  # noqa: S311 (names)
        others = [name for surname in _SURNAMES if (name := _of_gender(surname, is_woman)) not in (last, "")]
        return first, random_.choice(others)


def person(number: int) -> Person:
    """Return the person with this number, which is from 0 to MOST_PEOPLE - 1."""
    draw = random.Random(f"person {number}")  # noqa: S311 (names)
    is_woman = draw.random() < 0.58
    first = draw.choice(_WOMEN if is_woman else _MEN)
    last = _of_gender(draw.choice(_SURNAMES), is_woman)
    middle = draw.choice(_FATHERS) + ("на" if is_woman else "ич")
    university = draw.choices(range(len(_SIZES)), _SIZES)[0]
    account_last = "" if draw.random() < 0.03 else last
    account = (first, account_last) if draw.random() < 0.95 else None
    hides_phone, writes = draw.random() < 0.07, account is not None and draw.random() < 0.89
    own_name = f"{first} {last}" if writes and draw.random() < 0.06 else ""
    return Person(number, first, last, middle, university, account, hides_phone, writes, own_name)


def person_of(phone: str) -> Person | None:
    """Return the person with this phone number; None if nobody has it.

    The number needs the country code, and may begin with a plus.
    """
    digits = "+" + phone.lstrip("+")
    if not digits.startswith(_CODE) or not digits[len(_CODE) :].isdecimal():
        return None
    number = (int(digits[len(_CODE) :]) - _SHIFT) * pow(_FACTOR, -1, _PRIME) % _PRIME
    found = person(number) if number < MOST_PEOPLE else None
    return found if found and found.phone == digits else None


def _of_gender(surname: str, is_woman: bool) -> str:
    if not is_woman or surname.endswith(("о", "к")):
        return surname
    return f"{surname[:-2]}ая" if surname.endswith(("ий", "ой")) else f"{surname}а"
