//! Sets of characters: `[…]`, `\d`, `[:alpha:]`, `\p{Greek}`.

use regex_syntax::ParserBuilder;

/// A set of characters, as written in brackets or as one escape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) items: Vec<Item>,
}

/// One part of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Code points from the first to the second, surrogates included as Go counts them.
    Range(u32, u32),
    /// A set that has a name in Perl or POSIX: ASCII only.
    Named { ranges: &'static [(u8, u8)], negated: bool },
    /// A Unicode category or script, spelled for the crate `regex`: `gc=Lu`, `sc=Greek`, `any`.
    Unicode { property: String, negated: bool },
}

const DIGIT: &[(u8, u8)] = &[(b'0', b'9')];
const PERL_SPACE: &[(u8, u8)] = &[(b'\t', b'\n'), (0xc, b'\r'), (b' ', b' ')];
const WORD: &[(u8, u8)] = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];

/// The sets that POSIX names. Source: Go `regexp/syntax`, "ASCII character classes".
const POSIX: &[(&str, &[(u8, u8)])] = &[
    ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
    ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
    ("ascii", &[(0, 0x7f)]),
    ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
    ("cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    ("digit", DIGIT),
    ("graph", &[(b'!', b'~')]),
    ("lower", &[(b'a', b'z')]),
    ("print", &[(b' ', b'~')]),
    ("punct", &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
    ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
    ("upper", &[(b'A', b'Z')]),
    ("word", WORD),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];

/// The general categories, but for surrogates, which no text has.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Cn", "Co", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn",
    "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm",
    "So", "Z", "Zl", "Zp", "Zs",
];

/// Scripts whose full name has four letters; any other name of four letters is an ISO 15924 code, which Go does not know.
const SCRIPTS_OF_FOUR_LETTERS: &[&str] =
    &["Ahom", "Cham", "Kawi", "Lisu", "Miao", "Modi", "Newa", "Thai", "Toto"];

impl Item {
    /// `\d`, `\D`, `\s`, `\S`, `\w`, `\W` by the letter.
    pub(super) fn perl(letter: u8) -> Option<Self> {
        let ranges = match letter.to_ascii_lowercase() {
            b'd' => DIGIT,
            b's' => PERL_SPACE,
            b'w' => WORD,
            _ => return None,
        };
        Some(Self::Named { ranges, negated: letter.is_ascii_uppercase() })
    }

    /// `[:alpha:]` and `[:^alpha:]` by what stands between the colons.
    pub(super) fn posix(name: &str) -> Option<Self> {
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (_, ranges) = POSIX.iter().find(|(known, _)| *known == name)?;
        Some(Self::Named { ranges, negated })
    }

    /// `\p{name}` and `\P{name}`: a general category or a script, spelled as Unicode's tables do. Go has since become
    /// generous about that, but not the copy of its package that Prometheus uses.
    pub(super) fn unicode(name: &str, negated: bool) -> Option<Self> {
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let property = match name {
            "Any" => "any".to_owned(),
            // Surrogates are not characters of a text: an empty set, as "no character at all" is spelled below.
            "Cs" => return Some(Self::Unicode { property: "any".to_owned(), negated: !negated }),
            _ if CATEGORIES.contains(&name) => format!("gc={name}"),
            _ if is_script(name) => format!("sc={name}"),
            _ => return None,
        };
        Some(Self::Unicode { property, negated })
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Range(first, last) => write_range(*first, *last, out),
            Self::Named { ranges, negated } => {
                out.push_str(if *negated { "[^" } else { "[" });
                for (first, last) in *ranges {
                    write_range(u32::from(*first), u32::from(*last), out);
                }
                out.push(']');
            }
            Self::Unicode { property, negated } => {
                out.push_str(if *negated { "\\P{" } else { "\\p{" });
                out.push_str(property);
                out.push('}');
            }
        }
    }
}

impl Class {
    /// The set of one escape.
    pub(super) fn of(item: Item) -> Self {
        Self { negated: false, items: vec![item] }
    }

    /// Appends the set in the syntax of the crate `regex`.
    pub(super) fn write(&self, out: &mut String) {
        let mut items = String::new();
        self.items.iter().for_each(|item| item.write(&mut items));
        match (items.is_empty(), self.negated) {
            (true, false) => out.push_str("\\P{any}"),
            (true, true) => out.push_str("(?s:.)"),
            (false, false) => out.push_str(&format!("[{items}]")),
            (false, true) => out.push_str(&format!("[^{items}]")),
        }
    }

    /// The characters of the set, if they are at most `limit` and written out.
    pub(super) fn chars(&self, limit: usize) -> Option<Vec<char>> {
        let mut chars = Vec::new();
        for item in &self.items {
            let Item::Range(first, last) = item else { return None };
            if self.negated || (last - first) as usize >= limit {
                return None;
            }
            chars.extend((*first..=*last).filter_map(char::from_u32));
        }
        chars.sort_unstable();
        chars.dedup();
        (chars.len() <= limit).then_some(chars)
    }
}

/// Is `name` the full name of a script, such as `Greek` or `Old_Italic`? The crate `regex` knows them, in any spelling.
fn is_script(name: &str) -> bool {
    let is_title = |word: &str| {
        let mut bytes = word.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_uppercase())
            && bytes.all(|b| b.is_ascii_lowercase())
    };
    (name == "SignWriting" || (name != "Signwriting" && name.split('_').all(is_title)))
        && (name.len() != 4 || SCRIPTS_OF_FOUR_LETTERS.contains(&name))
        && ParserBuilder::new().build().parse(&format!("\\p{{sc={name}}}")).is_ok()
}

/// Surrogates cannot be spelled and occur in no text: they are left out.
fn write_range(first: u32, last: u32, out: &mut String) {
    let first = if (0xd800..=0xdfff).contains(&first) { 0xe000 } else { first };
    let last = if (0xd800..=0xdfff).contains(&last) { 0xd7ff } else { last };
    if first == last {
        out.push_str(&format!("\\x{{{first:x}}}"));
    } else if first < last {
        out.push_str(&format!("\\x{{{first:x}}}-\\x{{{last:x}}}"));
    }
}
