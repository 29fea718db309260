//! Instants as text: `2026-09-14T08:30:00.5+02:00`, in and out, by the proleptic Gregorian calendar.
//!
//! Source: RFC 3339 section 5.6; as in Go's `time.RFC3339Nano`, letters are upper case and a fraction may have any length.

use crate::model::TimestampMs;

const MS_PER_DAY: i64 = 86_400_000;

/// Reads an instant; what is finer than a millisecond is cut off. `None` if the text is not of the form.
#[must_use]
pub fn parse(text: &str) -> Option<TimestampMs> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let (time, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
    let [hour, minute, second] = numbers(time, b':', [2, 2, 2])?;
    let (fraction_ms, zone) = fraction(rest)?;
    let offset_minutes = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = numbers(offset, b':', [2, 2])?;
            let minutes = (hours <= 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => return None,
    };
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let minutes = (hour * 60 + minute) - offset_minutes;
    in_range.then(|| {
        let day_ms = days_from_civil(year, month, day) * MS_PER_DAY;
        TimestampMs(day_ms + minutes * 60_000 + second * 1000 + fraction_ms)
    })
}

/// Writes an instant in UTC, with milliseconds if there are any: `2026-09-14T06:30:00.5Z`.
#[must_use]
pub fn format(t: TimestampMs) -> String {
    let [year, month, day, hour, minute, second] = fields(t);
    let fraction = match t.0.rem_euclid(1000) {
        0 => String::new(),
        ms => format!(".{}", format!("{ms:03}").trim_end_matches('0')),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Writes an instant in UTC to the second, fit for the name of a file: `20260914T063000Z`.
#[must_use]
pub fn format_compact(t: TimestampMs) -> String {
    let [year, month, day, hour, minute, second] = fields(t);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month, day, hour, minute and second of an instant in UTC.
fn fields(t: TimestampMs) -> [i64; 6] {
    let (year, month, day) = civil_from_days(t.0.div_euclid(MS_PER_DAY));
    let seconds = t.0.rem_euclid(MS_PER_DAY) / 1000;
    [year, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60]
}

/// Decimal fields of fixed widths with a separator between them, and nothing else.
fn numbers<const N: usize>(text: &str, separator: u8, widths: [usize; N]) -> Option<[i64; N]> {
    let mut rest = text.as_bytes();
    let mut found = [0; N];
    for (i, (number, width)) in found.iter_mut().zip(widths).enumerate() {
        if i > 0 {
            rest = rest.strip_prefix(&[separator])?;
        }
        let (digits, after) = rest.split_at_checked(width)?;
        for digit in digits {
            let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
            *number = *number * 10 + digit;
        }
        rest = after;
    }
    rest.is_empty().then_some(found)
}

/// The milliseconds of a fraction at the front of `text`, if there is one, and what follows.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(after) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, rest) = after.split_at_checked(digits).filter(|_| digits > 0)?;
    let ms = fraction
        .bytes()
        .chain([b'0'; 3])
        .take(3)
        .fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some((ms, rest))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01. The year is taken to begin in March, so that the leap day is its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days from 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_read_to_the_millisecond() {
        let ms = |text| parse(text).unwrap().0;
        assert_eq!(ms("1970-01-01T00:00:00Z"), 0);
        assert_eq!(ms("2015-06-03T13:21:58.555Z"), 1_433_337_718_555);
        assert_eq!(ms("2015-06-03T14:21:58.5559999+01:00"), 1_433_337_718_555);
        assert_eq!(ms("1969-12-31T23:59:59.5Z"), -500);
        assert_eq!(ms("2024-02-29T00:00:00-02:30"), 1_709_173_800_000);
        assert_eq!(ms("0000-03-01T00:00:00Z"), -62_162_035_200_000);
    }

    #[test]
    fn in_a_name_an_instant_has_no_separators() {
        let at = |text| format_compact(parse(text).unwrap());
        assert_eq!(at("2006-01-02T15:04:05.999Z"), "20060102T150405Z");
        assert_eq!(at("1969-12-31T23:59:59.5Z"), "19691231T235959Z");
    }

    #[test]
    fn what_the_calendar_does_not_have_is_refused() {
        for text in [
            "2015-02-29T00:00:00Z",
            "2015-13-01T00:00:00Z",
            "2015-00-01T00:00:00Z",
            "2015-06-03T24:00:00Z",
            "2015-06-03T13:21:60Z",
            "2015-06-03 13:21:58Z",
            "2015-06-03T13:21:58",
            "2015-06-03T13:21:58.Z",
            "2015-06-03T13:21:58+0100",
            "2015-06-03T13:21:58+01:00x",
            "2015-6-3T13:21:58Z",
            "20150-06-03T13:21:58Z",
            "２015-06-03T13:21:58Z",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in -62_167_219_200_000i64..253_402_300_800_000) {
            prop_assert_eq!(parse(&format(TimestampMs(ms))), Some(TimestampMs(ms)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}", near in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,14}[Z+-][0-9:]{0,5}") {
            let _ = (parse(&text), parse(&near));
        }
    }
}
