//! How the text of a value becomes a boolean, a number or a time: git's and Gerrit's rules.

use std::time::Duration;

/// yes/true/on/1 and no/false/off/0 in any case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false; write `true` or `false`")),
    }
}

/// A whole number of milliseconds from 0 to 2147483647, as Gerrit takes; `k`, `m` and `g` multiply by powers of 1024.
pub(super) fn millis(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a number of milliseconds; write digits, as in `1000`");
    let trimmed = text.trim();
    let (digits, unit) = match trimmed.char_indices().last() {
        Some((i, c)) if c.is_ascii_alphabetic() => (&trimmed[..i], c.to_ascii_lowercase()),
        _ => (trimmed, ' '),
    };
    let factor: u64 = match unit {
        ' ' => 1,
        'k' => 1 << 10,
        'm' => 1 << 20,
        'g' => 1 << 30,
        _ => return Err(wrong()),
    };
    if let Some(positive) = digits.strip_prefix('-')
        && !positive.is_empty()
        && positive.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(format!("`{text}` is negative; a wait is 0 (none) or more"));
    }
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|n| *n <= i32::MAX as u64)
        .map(|n| n as u32)
        .ok_or_else(|| format!("`{text}` is too large; the most is {} milliseconds", i32::MAX))
}

/// A whole number of hours from 1 to ten years of them.
pub(super) fn hours(text: &str) -> Result<u32, String> {
    const MOST: u32 = 10 * 365 * 24;
    let digits = text.trim();
    let number = digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    match number {
        Some(hours) if (1..=MOST).contains(&hours) => Ok(hours),
        Some(_) => Err(format!("`{text}` is out of range; write 1 to {MOST} hours")),
        None => Err(format!("`{text}` is not a number of hours; write digits, as in `24`")),
    }
}

/// A whole number.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let digits = text.trim();
    let number = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("`{text}` is not a number; write digits, 0 or more"))
}

/// Bytes, from a whole number of MiB from 64 to a million.
pub(super) fn mebibytes(text: &str) -> Result<u64, String> {
    match count(text) {
        Ok(mib @ 64..=1_000_000) => Ok(mib << 20),
        Ok(_) => Err(format!("`{text}` is out of range; write 64 to 1000000 MiB")),
        Err(_) => Err(format!("`{text}` is not a number of MiB; write digits, as in `2048`")),
    }
}

/// A share of a hundred.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = number.parse::<f64>().ok().filter(|n| plain && (0.0..=100.0).contains(n));
    number.ok_or_else(|| format!("`{text}` is not a share; write 0 to 100, as in `0.5`"))
}

/// Gerrit's time text: a number and a unit from milliseconds to years; a bare number is milliseconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time; write a number and a unit, as in `30 s` or `500 ms`");
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: u64 = trimmed[..split].parse().map_err(|_| wrong())?;
    const SECOND: u64 = 1000;
    const DAY: u64 = 24 * 60 * 60 * SECOND;
    let unit = match trimmed[split..].trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hour" | "hours" => 60 * 60 * SECOND,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "mon" | "month" | "months" => 30 * DAY,
        "y" | "year" | "years" => 365 * DAY,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long a time"))
}

/// How long something is waited for: seconds, or a number and a unit. A wait without an end is none.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let bare = !text.trim().is_empty() && text.trim().bytes().all(|b| b.is_ascii_digit());
    let time = if bare { time(&format!("{text} s")) } else { time(text) };
    match time {
        Ok(Duration::ZERO) => Err(format!("`{text}` leaves no time; write 1 or more seconds")),
        Ok(time) => Ok(time),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_whole_and_never_none() {
        assert_eq!((hours("1"), hours(" 48 ")), (Ok(1), Ok(48)));
        for bad in ["0", "-1", "+1", "1h", "1.5", "", "87601", "99999999999"] {
            assert!(hours(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mebibytes_are_whole_and_never_too_few() {
        assert_eq!((mebibytes("64"), mebibytes(" 2048 ")), (Ok(64 << 20), Ok(2 << 30)));
        for bad in ["0", "63", "1000001", "-1", "2g", "", "99999999999999999999"] {
            assert!(mebibytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn booleans_are_gits() {
        for (text, value) in [("yes", true), ("TRUE", true), ("On", true), ("1", true)] {
            assert_eq!(boolean(text), Ok(value));
        }
        for text in ["no", "False", "OFF", "0"] {
            assert_eq!(boolean(text), Ok(false));
        }
        for text in ["2", "enabled", "t", ""] {
            assert!(boolean(text).unwrap_err().contains("write `true` or `false`"), "{text}");
        }
    }

    #[test]
    fn milliseconds_have_binary_suffixes_and_javas_bound() {
        for (text, value) in
            [("0", 0), ("1000", 1000), ("2k", 2048), ("1M", 1 << 20), ("+5", 5), ("1g", 1 << 30)]
        {
            assert_eq!(millis(text), Ok(value), "{text}");
        }
        assert_eq!(millis("2147483647"), Ok(2_147_483_647));
        for (text, part) in [
            ("-1", "negative"),
            ("-1k", "negative"),
            ("2147483648", "too large"),
            ("2g", "too large"),
            ("99999999999999999999", "too large"),
            ("17179869184g", "too large"),
            ("", "not a number"),
            ("-", "not a number"),
            ("1s", "not a number"),
            ("1.5", "not a number"),
            ("k", "not a number"),
            ("0x10", "not a number"),
            ("1é", "not a number"),
        ] {
            let e = millis(text).unwrap_err();
            assert!(e.contains(part), "{text}: {e}");
        }
    }

    #[test]
    fn waits_are_seconds_and_never_without_end() {
        for (text, ms) in [("30", 30_000), (" 5 ", 5_000), ("250 ms", 250), ("2 min", 120_000)] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "0 ms", "-1", "never"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_gerrits_units() {
        for (text, ms) in [
            ("30", 30),
            ("30 s", 30_000),
            ("5min", 300_000),
            ("1 hr", 3_600_000),
            ("2 Days", 172_800_000),
            ("1 w", 604_800_000),
            ("1 mon", 2_592_000_000),
            ("1 year", 31_536_000_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1 s", "1 fortnight", "1.5 s", "99999999999999999 y"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
