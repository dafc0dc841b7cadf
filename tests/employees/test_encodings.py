"""Each encoding of a CSV file is read right or refused, and no name is ever stored garbled."""

import re
from collections.abc import Callable

import pytest
from django.conf import settings as settings_of_django
from django.utils.translation import override
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.dev.demo import people
from employees.import_export.encodings import UndecodableFile, decode, has_swapped_case, is_garbled
from employees.import_export.headings import COLUMNS, heading_of

EXAMPLES = settings(deadline=None)
LAST_NAMES = [
    *("Иванов", "Смирнова", "Кузнецов", "Попова", "Соколов", "Ли", "Ким", "Пак", "Ян", "Юн", "Цой"),
    *("Хрущёв", "Щукина", "Жданов", "Шпак", "Ёлкина", "Юсуфов", "Яхшиева", "Эрнст", "Фет", "Бах", "Зыков"),
    *("Чжао", "Ощепков", "Ульянова", "Крыжановский", "Мухаметзянова", "Оглы", "Дзю", "Гоголь-Яновский"),
    *("О'Коннор", "Подъячев", "Рюриков"),
]
FIRST_NAMES = [
    *("Анна", "Иван", "Ольга", "Олег", "Пётр", "Юрий", "Яна", "Ия", "Лев", "Мария", "Александр"),
    *("Екатерина", "Гульнара", "Рустам", "Эдуард", "Фёдор", "Жанна", "Зоя", "Илья", "Чингиз", "Шамиль"),
    *("Хасан", "Ульяна", "Нгуен", "Айгуль", "Юсуф"),
]
UNIVERSITIES = [
    *("", "МГУ", "СПбГУ", "УрФУ", "ТюмГУ", "ВШЭ", "Вуз ошибок", "Лицей № 5", "Первый вуз"),
    *("ФГБОУ ВО «МГТУ им. Н.Э. Баумана»", "Казанский (Приволжский) федеральный университет"),
]
EIGHT_BITS = ["koi8_r", "koi8_u", "cp866", "cp1125", "cp855", "mac_cyrillic", "iso8859_5"]
HEADINGS = "phone;last_name;first_name;university_name"


@st.composite
def tables(draw: st.DrawFn) -> str:
    cases: list[Callable[[str], str]] = [str, str, str.upper, str.lower]
    case = draw(st.sampled_from(cases))
    person = st.tuples(*(st.sampled_from(choices) for choices in (LAST_NAMES, FIRST_NAMES, UNIVERSITIES)))
    rows = [case(";".join(draw(person))) for _ in range(draw(st.integers(1, 6)))]
    return "\r\n".join([HEADINGS, *(f"+7916090001{number};{row}" for number, row in enumerate(rows)), ""])


@EXAMPLES
@given(tables(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]))
def test_unicode_is_read(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "name", ["ДиКаприо", "ЛаРю", "ДеЛоне", "Ю", "Э", "Сæрмæт", "ⴀ", "ДЕЖ", "Ձ", "+BBAEMQ-", "\ue000"]
)
def test_a_mark_makes_utf_8_certain(name: str) -> None:
    text = f"phone,last_name\n+79161234567,{name}\n"
    assert decode(text.encode("utf-8-sig")) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("headings", ["Телефон;Фамилия;Имя;Вуз", "телефон;фамилия;имя;вуз", HEADINGS])
def test_utf_16_without_a_mark_is_read_in_each_language(encoding: str, headings: str) -> None:
    text = f"{headings}\r\n+79160900011;Ёлкина;Анна;ВУЗ ошибок\r\n"
    assert decode(text.encode(encoding)) == text


@EXAMPLES
@given(tables())
def test_windows_1251_is_read(text: str) -> None:
    text += "+79160900009;Смирнова;Анна;Вуз ошибок\r\n"
    assert decode(text.encode("cp1251")) == text


def read(content: bytes) -> str | None:
    """Return the text, or None if the encoding is refused."""
    try:
        return decode(content)
    except UndecodableFile as error:
        assert "Save it as “CSV UTF-8”" in str(error)  # noqa: PT017
        return None


@EXAMPLES
@given(tables(), st.sampled_from([*EIGHT_BITS, "cp1251", "utf-7", "utf-32", "utf-32-le"]))
def test_other_encodings_are_read_right_or_refused(text: str, encoding: str) -> None:
    content = text.encode(encoding, "replace")
    assert read(content) in (None, content.decode(encoding))


# In small letters of DOS 866, each such word forms one character in UTF-8, among them real names and unassigned ones.
SHORT = st.sampled_from(
    ["хан", "чен", "цой", "тен", "шин", "чан", "хон", "шим", "цай", "хам", "чай", "хей", "юнг", "щип", "ынг"]
) | st.from_regex("[р-я][а-п]{2}", fullmatch=True)


@EXAMPLES
@given(st.lists(st.tuples(SHORT, SHORT), min_size=1, max_size=3))
@example([("хан", "чен")])
@example([("цой", "цой")])
@example([("юнг", "")])
@example([("щип", "ынг")])
def test_short_names_in_small_letters_are_no_characters(names: list[tuple[str, str]]) -> None:
    text = "\n".join([HEADINGS, *(f"+7916090001{n};{';'.join(name)};" for n, name in enumerate(names)), ""])
    assert read(text.encode("cp866")) in (None, text)
    # A word that would be a surrogate is no text in UTF-8 at all; what replaces it is.
    characters = text.encode("cp866").decode(errors="replace")
    assert decode(characters.encode("utf-8-sig")) == characters


@EXAMPLES
@given(st.characters(categories=["Co"]) | st.characters(min_codepoint=0x40000, max_codepoint=0xDFFFF))
@example("\ueb63")
@example("\ufdd0")
def test_what_is_no_character_needs_a_mark(character: str) -> None:
    text = f"phone;last_name\n1;Иванов {character}\n2;Петров\n"
    assert read(text.encode()) is None
    assert decode(text.encode("utf-8-sig")) == decode(text.encode("utf-16")) == text


# Each reads as a word with є, ї or ґ in Windows-1251.
TURKIC = {
    "ptcp154": "Әйгерім Әлия Әсет Әділет Әбдіров Әзиз ӘЛИЯ Сәбитов Мәдина МӘДИНА Жәнібеков Сәрсенова Шәкәрім Аҙамат",
    "kz1048": "Үміт Өнер Өзен Бағлан Тоғжан Ғұмар ҒҰМАР Өжет Мусаұлы Алиұлы",
}
# Words that might be written in Ukrainian, but are those of Tatar, Bashkir, Azerbaijani and Kyrgyz.
TURKIC["ptcp154"] += " Ҙилә Әвхәди Әвлияр Әфтах Нәшьәт Мәсьәлә Әгер Бәҝлар Мәва"
TURKIC["kz1048"] += " Үүлжан Айүүрпек Өреш"


@EXAMPLES
@given(st.sampled_from(list(TURKIC)), st.data())
@example("ptcp154", None)
def test_no_turkic_letter_becomes_ukrainian(encoding: str, data: st.DataObject | None) -> None:
    name = st.sampled_from(TURKIC[encoding].split())
    usual = st.sampled_from(["Ахметова;Анна", "Иванов;Иван", "Сейтов;Ермек", "Петренко;Ольга", "Кім;Серік"])
    rows = data.draw(st.tuples(name, st.lists(usual | name, max_size=4))) if data else ("Әлия", [])
    text = "\n".join([HEADINGS, *(f"+7916090001{n};{row};" for n, row in enumerate([rows[0], *rows[1]])), ""])
    assert read(text.encode(encoding)) is None
    assert decode(text.encode("utf-8-sig")) == decode(text.encode("utf-16")) == text


@EXAMPLES
@given(st.sampled_from(["johab", "big5"]), st.lists(st.text("ДЕЖЗИЙКЛМУФХЦЧ", min_size=1), min_size=1))
@example("johab", ["ИВАНОВ;ИВАН"])
@example("johab", ["КИМ;ДО", "ЛИ;ЛИ", "ПЕТРОВ;ПЕТР", "СИДОРОВ;ЕФИМ"])
def test_no_capital_of_east_asia_becomes_another_letter(encoding: str, names: list[str]) -> None:
    text = "\n".join(["phone;last_name;first_name", *(f"+7916090001{n};{name}" for n, name in enumerate(names)), ""])
    assert read(text.encode(encoding)) is None


YO = ["Ёлкин", "Ёжиков", "Ёлкина", "ёлкин", "ёлшин", "Ёж", "Ёрохина", "пётр", "алёна", "Ёлкин-Ёжиков", "", "лицей № 5"]


@EXAMPLES
@given(st.lists(st.tuples(st.sampled_from(YO), st.sampled_from(YO)), min_size=1, max_size=3))
@example([("Ёлкин", "")])
@example([("ёлкин", "")])
def test_no_yo_of_the_mac_becomes_another_letter(names: list[tuple[str, str]]) -> None:
    text = "\n".join([HEADINGS, *(f"+7916090001{n};{';'.join(name)};" for n, name in enumerate(names)), ""])
    assert read(text.encode("mac_cyrillic")) in (None, text)


@pytest.mark.parametrize("name", ["Захаров;Юрий", "Юдин;Анна", "Зуев;Пётр;Эдуардович;МГУ", "Дегтярёв;Пётр;;МГУ"])
def test_few_words_with_other_letters_are_read(name: str) -> None:
    text = f"phone;last_name;first_name;middle_name;university_name\n1;{name}\n"
    assert decode(text.encode("cp1251")) == text


FOREIGN = {
    "Greek": (
        "Παπαδόπουλος Γεωργίου Οικονόμου Δελή Κατσαρός Ευαγγελάτος Μαρία Γιώργος Ρέα Ζωή ΝΙΚΟΣ ΔΕΛΗ ελένη",
        ["iso8859_7", "cp1253", "cp737", "cp869", "mac_greek", "utf-7"],
    ),
    "Hebrew": (
        "כהן לוי מזרחי פרץ אזולאי נטע גנאים מלול מרום שרה דוד נוי יוסף חאג'",
        ["cp1255", "iso8859_8", "cp862", "utf-7"],
    ),
    "Arabic": (
        "محمد أحمد العلي شبيب الخرافي روحي حجار فاطمة علي جهان نور",
        ["cp1256", "iso8859_6", "cp720", "utf-7"],
    ),
    "Turkish": (
        "Özgür Şahin Çelik Öztürk Yıldız Ğ Tuğçe Gökçe İpek ÜNAL ŞEŞEN",
        ["cp1254", "iso8859_9", "cp857", "mac_turkish", "utf-7"],
    ),
    "Chinese": ("王 李 张伟 陈 杨 燕 尹 黄 吴 罗 涛 莫 权 小明 建国 娜", ["gb18030", "gb2312", "big5", "hz", "utf-7"]),
    "Japanese": (
        "佐藤 鈴木 太田 田中 森 あすか くみ子 ケンジ 三浦 陽子",
        ["shift_jis", "euc_jp", "iso2022_jp", "utf-7"],
    ),
    "Korean": ("김 이 박 최 황 홍 민준 서연 지우 강", ["euc_kr", "cp949", "johab", "iso2022_kr", "utf-7"]),
    "Thai": ("สมชาย กุมารบุญ ขันธุลา กนกเนตร", ["tis_620", "utf-7"]),
    "Western": (
        "Müller Peña Ñíguez José Åsa Öberg Strauß Þórunn Océane Íñigo Zoë RÓŻA",
        ["cp1252", "cp437", "cp850", "mac_roman", "mac_iceland", "utf-7"],
    ),
    "Central": ("Łukasz Dvořák Niță Ioniță Růžena Őze Šimůnek KSIĘŻYK", ["cp1250", "iso8859_2", "cp852", "iso8859_16"]),
    "Baltic": ("Žemaitis Ķirsis Lūcija Šarūnas Āris", ["cp1257", "cp775"]),
    "Kazakh": ("Айгүл Өмір Ғалым Нұрланұлы Қанат Әлия Бүркіт", ["kz1048"]),
}


@st.composite
def foreign_tables(draw: st.DrawFn) -> tuple[bytes, str]:
    """Return a table of one to five short rows, and its text."""
    words, encodings = FOREIGN[draw(st.sampled_from(list(FOREIGN)))]
    encoding = draw(st.sampled_from(encodings))
    name = st.sampled_from(words.split())
    rows = draw(
        st.lists(st.one_of(name, st.tuples(name, name).map(draw(st.sampled_from([";", " "])).join)), max_size=5)
    )
    text = "\n".join(["phone;last_name;first_name", *(f"+7916090001{n};{row}" for n, row in enumerate(rows)), ""])
    content = text.encode(encoding, "ignore")
    return content, content.decode(encoding)


@EXAMPLES
@given(foreign_tables())
def test_no_other_alphabet_is_guessed(table: tuple[bytes, str]) -> None:
    content, text = table
    assert read(content) in ((text,) if text.isascii() else (None, text))


@EXAMPLES
@given(st.sampled_from(list(FOREIGN)), st.data())
def test_every_alphabet_is_read_in_unicode(alphabet: str, data: st.DataObject) -> None:
    name = st.sampled_from(FOREIGN[alphabet][0].split())
    rows = data.draw(st.lists(name, min_size=1, max_size=3))
    text = "\n".join(["phone;last_name", *(f"8916090001{number};{row}" for number, row in enumerate(rows)), ""])
    for encoding in ("utf-8-sig", "utf-16"):
        assert decode(text.encode(encoding)) == text
    # 森 is “цго” in DOS 866; without a mark, nobody knows which of the two is meant.
    may_be_small_russian = all(re.fullmatch("[р-я][а-п]{2}", row.encode().decode("cp866")) for row in rows)
    assert read(text.encode()) == (None if may_be_small_russian else text)


SLAVIC = {
    "Russian": "Иванов Сысоев Юдина Щербакова Ёжиков Цветков Эйхман Долгих Хрущёв Крыжановский Мухаметзянова Объедков",
    "Ukrainian": "Шевченко Іващенко Ґжицький Авдєєнко Їжакевич Заєць Мар'яна Мар’яна Гліб Євген Соломія"
    " Бездітко Матвєєва Сергієнко Андріївна Єгор Лебєдєв Єрмоленко",
    "Belarusian": "Быкаў Шаўцоў Янка Аляксандраўна Ігнатоўскі Лукашэвіч",
    "Kazakh": "Нурпеисова Алтынбаев Жайлауов Сулейменова Абдрахманов",
}


@EXAMPLES
@given(st.sampled_from(list(SLAVIC)), st.data())
def test_names_of_windows_1251_are_read(language: str, data: st.DataObject) -> None:
    row = st.lists(st.sampled_from(SLAVIC[language].split()), min_size=2, max_size=3, unique=True).map(";".join)
    rows = data.draw(st.lists(st.tuples(row, st.sampled_from(["", *UNIVERSITIES, "Иванов И.И.", "Cмирнов"]))))
    lines = [f"+7916090001{number};{';'.join(cells)}" for number, cells in enumerate([("Петренко;Ольга", ""), *rows])]
    text = "\n".join(["phone;last_name;first_name;middle_name;university_name", *lines, ""])
    assert decode(text.encode("cp1251")) == text


@pytest.mark.parametrize(("name", "encoding"), [("Ғұмар", "kz1048"), ("Өжет", "kz1048"), ("Ҙилә", "ptcp154")])
def test_one_turkic_name_among_russian_ones_is_refused(name: str, encoding: str) -> None:
    rows = ["Телефон;Фамилия;Имя;Вуз", "+79160900011;Смирнова;Анна;МГУ", "+79160900012;Попова;Ольга;МГУ"]
    text = "\n".join([*rows, f"+79160900013;Иванов;{name};МГУ", ""])
    assert read(text.encode(encoding)) is None
    assert decode(text.replace(name, "Иван").encode("cp1251")) == text.replace(name, "Иван")


@pytest.mark.parametrize(
    "name",
    [
        *("Євгенія", "Євдокія", "Євтушенко", "Євсєєв", "Єгоров", "Єфремов", "Єфименко", "Ємельєв", "Арсеньєва"),
        *(
            "Григор'єва",
            "Зінаїда",
            "Раїса",
            "Мойсеїв",
            "Їжак",
            "Андрєєва",
            "Андрієвич",
            "Сергєєв",
            "Ґжицький",
            "Єременко",
        ),
        *("Лебєдєв", "Гусєва", "Заєць", "Ґринчук", "Быкаў", "Паўлаў", "Паўловіч", "Каўзун"),
    ],
)
def test_a_ukrainian_or_belarusian_name_is_read(name: str) -> None:
    text = f"phone;last_name;first_name\n1;{name};Ольга\n2;Петренко;Марина\n"
    assert decode(text.encode("cp1251")) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Müller;José", "cp1252"),
        ("Łukasz", "cp1250"),
        ("王小明", "gb18030"),
        ("田中", "shift_jis"),
        ("김민준", "euc_kr"),
        ("Ғалым", "kz1048"),
        ("Ли", "cp855"),
        ("Яковлева;Ольга", "utf-7"),
        ("田中", "iso2022_jp"),
        ("김민준", "iso2022_kr"),
        ("王", "hz"),
        ("莫", "gb18030"),
    ],
)
def test_names_in_other_encodings_are_refused(text: str, encoding: str) -> None:
    with pytest.raises(UndecodableFile, match=r"Row [12]:"):
        decode(f"phone;last_name\n1;{text}\n".encode(encoding))


@pytest.mark.parametrize("name", ["Ли", "Ёлкина", "Ілля", "ООО “Ромашка”", "О’Коннор", "Вуз «Север» № 5 – филиал"])
def test_usual_names_are_read(name: str) -> None:
    text = f"phone;last_name\n1;{name}\n"
    assert decode(text.encode("utf-8")) == decode(text.encode("cp1251")) == text


@pytest.mark.parametrize(
    "cell",
    *[
        [
            "Peña",
            "Ü",
            "Öz",
            "Ә",
            "Қ",
            "Җ",
            "І",
            "ї",
            "5 °",
            "½ ставки",
            "a\u00a0b",
            "«MGU»",
            "C+Abc",
            "a+b=c",
            "~{x}",
            "王",
        ]
    ],
)
def test_few_characters_of_utf_8_are_read(cell: str) -> None:
    text = f"phone;last_name\n+79160900001;{cell}\n+12025550124;x\n"
    assert decode(text.encode()) == text


def test_the_row_is_named() -> None:
    rows = ["phone;last_name", "1;Smith", '2;"a\nb"', "3;Иванов"]
    with pytest.raises(UndecodableFile, match="Row 5"):
        decode("\n".join(rows).encode("koi8_r"))


@EXAMPLES
@given(st.sampled_from([*LAST_NAMES, *FIRST_NAMES, *UNIVERSITIES]).filter(lambda name: len(name) > 3))
def test_text_that_was_garbled_before_is_recognized(name: str) -> None:
    assert not is_garbled(name)
    assert is_garbled(name.encode().decode("latin_1"))
    assert is_garbled(name.encode().decode("cp866"))
    assert is_garbled(name.encode("koi8_r", "replace").decode("utf-8", "replace"))
    assert is_garbled(name.replace("№", "").encode("cp1251").decode("latin_1"))


@EXAMPLES
@given(st.sampled_from([*LAST_NAMES, *FIRST_NAMES]).filter(lambda name: name.isalpha() and len(name) > 3))
def test_boxes_are_no_letters(name: str) -> None:
    """DOS and KOI8 have lines and boxes where Windows has letters."""
    for encoding in ("cp866", "koi8_r"):
        garbled = name.encode("cp1251", "ignore").decode(encoding)
        if any("\u2500" <= character <= "\u259f" for character in garbled):
            assert is_garbled(garbled)


@pytest.mark.parametrize("name", ["╚трэют", "└ээр", "€ў ®ў", "€¢ ­®ў", "Г®ў®а®ў", "▌ЁьЎ"])
def test_symbols_in_place_of_letters_are_recognized(name: str) -> None:
    assert is_garbled(name)


@pytest.mark.parametrize(
    "name",
    [
        *("Университет «Синергия»®", "Вуз № 1", "§ 5", "Синергия® плюс", "Центр 21 ©", "©МГУ", "Фонд™Юг", "§Право"),
        *("Вуз ─ филиал", "═ Кафедра ═", "══ Кафедра ══", "Институт│Кафедра", "Вуз║филиал", "─Вуз─филиал─", "█ Вуз"),
        *("»Север»", "Институт »Восток»"),
        *("»Север« Вуз", "Вуз »Север«", "«Север»плюс", "ООО «Север »плюс", "¬ Вуз", "≈ 5 вузов", "Вуз ÷ филиал"),
    ],
)
def test_symbols_beside_words_are_not_garbled(name: str) -> None:
    assert not is_garbled(name)


@pytest.mark.parametrize("name", ["¬алентина", "√алина", "ƒмитрий", "≈лена", "∆анна", "»ванов", "ћари€", "Юли€"])
def test_mac_cyrillic_is_recognized_by_its_symbols(name: str) -> None:
    assert is_garbled(name)


@pytest.mark.parametrize("name", ["Čâŕíîâ", "Ńěčđíîâŕ", "Čāąķīā", "袠胁邪薪芯胁", "小屑懈褉薪芯胁邪", "Čâŕíîâ Ivan"])
def test_words_of_garbled_letters_only_are_recognized(name: str) -> None:
    assert is_garbled(name)


@EXAMPLES
@given(st.from_regex("[А-Я][а-я]{3,12}([ -][А-Я][а-я]{1,12})?", fullmatch=True), st.booleans())
@example("Иванов", True)
@example("Иванов", False)
def test_koi8_is_recognized_by_swapped_case(name: str, is_read_as_koi8: bool) -> None:
    source, wrong = ("cp1251", "koi8_r") if is_read_as_koi8 else ("koi8_r", "cp1251")
    assert has_swapped_case(name.encode(source).decode(wrong))


@pytest.mark.parametrize(
    "text", ["йБЮМНБ", "хБЮМНБ", "яЕПЦЕИ", "йЧБОПЧ", "ёТРЭЮТ", "иВАНОВ иВАН", "хБЮМНБ х. х.", "бСГ НЬХАНЙ цНПНД"]
)
def test_swapped_case_is_recognized(text: str) -> None:
    assert has_swapped_case(text)


@pytest.mark.parametrize(
    "text", ["эНДОцентр", "МГТУ", "мГУ", "иИТ МИСиС", "Кафедра эЛЕКТРО", "кафедра эЛЕКТРО", "iPHONE", "еВРО и мы"]
)
def test_other_mixtures_of_case_are_no_swapped_case(text: str) -> None:
    assert not has_swapped_case(text)


def russian_texts() -> set[str]:
    """Return the names of the demo, the headings, and the words of the translation and of the Russian guides."""
    names = {
        name
        for person in map(people.person, range(3_000))
        for name in (person.first_name, person.last_name, person.middle_name)
    }
    root = settings_of_django.BASE_DIR
    sources = [root / "locale/ru/LC_MESSAGES/django.po", *(root / "docs/ru").glob("*.md")]
    words = {word for source in sources for word in re.findall("[а-яё-]+", source.read_text(), re.IGNORECASE)}
    with override("ru"):
        headings = set(map(heading_of, COLUMNS))
    # The guides have these as examples.
    words -= {"йБЮМНБ", "иВАНОВ"}
    return names | words | headings | {*people.UNIVERSITIES, *UNIVERSITIES, *LAST_NAMES, *FIRST_NAMES}


def test_no_russian_word_is_garbled() -> None:
    texts = russian_texts()
    assert len(texts) > 3_000
    for text in texts:
        for written in (text, text.upper(), text.lower(), text.capitalize(), text.title()):
            assert not is_garbled(written), written
            assert not has_swapped_case(written), written


@EXAMPLES
@given(
    st.lists(
        st.from_regex("[А-Я][а-я]{1,12}|[А-Я]{1,12}|[а-я]{1,12}|№ [0-9]|«[А-Я][а-я]{2,9}»", fullmatch=True)
        | st.from_regex("[РСЛПЯ]([рслпя][аеёиюі]){1,5}", fullmatch=True),
        min_size=1, max_size=5,
    ),
    st.sampled_from([" ", "-", ", ", " — ", " | ", " ─ ", "│"]),
)  # fmt: skip
def test_no_generated_name_is_garbled(words: list[str], separator: str) -> None:
    name = separator.join(words)
    assert not is_garbled(name)
    assert not has_swapped_case(name)


@pytest.mark.parametrize("name", ["Лилия", "Лилиана", "Лалетин", "Лалаев", "Лілія", "ЛИЛИЯ", "Лилейный", "Лейла"])
def test_repeated_syllables_are_not_garbled(name: str) -> None:
    """In UTF-8 that is read in DOS 855, each second letter is an л."""
    assert not is_garbled(name)


@pytest.mark.parametrize(
    "name", ["»ванов", "Пётр »ванов", "Вуз »ванов", "»Север »ванов", "Север» »ванов", "»»ванов »ль"]
)
def test_a_capital_of_the_mac_is_no_quotation_mark(name: str) -> None:
    assert is_garbled(name)


@pytest.mark.parametrize(
    "name", ["«Север» »ванов", "»Север« »ванов", "»Север»", "Вуз »Север» № 5", "» ванов", "»Smith"]
)
def test_a_quotation_mark_is_no_capital_of_the_mac(name: str) -> None:
    assert not is_garbled(name)


@pytest.mark.parametrize("name", ["×óâàêîâ", "÷àé", "Ivan ×óâàêîâ", "Z×óâàêîâ", "¨ëêèí", "Ивàíîâ Èâàí", "Îâàŕ Čâŕíîâ"])
def test_signs_of_garbled_letters_belong_to_words(name: str) -> None:
    assert is_garbled(name)


@pytest.mark.parametrize("name", ["Éloïse", "Ångström", "Þórður", "Łukasz", "Nguyễn", "Ö", "Серёгин", "Ғалым", "王"])
def test_foreign_names_are_not_garbled(name: str) -> None:
    assert not is_garbled(name)
