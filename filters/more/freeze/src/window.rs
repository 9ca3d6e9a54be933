//! Windows of time: every week between two moments, or once between two dates.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::Offset;

/// When nothing goes. The beginning belongs to it, the end does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Every week, in minutes since Monday 00:00; an end before the beginning is in the next week.
    Weekly {
        /// The first minute.
        start: u32,
        /// The minute after the last.
        end: u32,
    },
    /// Once.
    Once {
        /// The first moment.
        start: DateTime,
        /// The moment after the last.
        end: DateTime,
    },
}

impl Window {
    /// `Fri 18:00 - Mon 06:00` or `2026-12-24 00:00 - 2026-12-27 00:00`.
    pub fn parse(text: &str) -> Result<Window, String> {
        let (from, to) = text.split_once(" - ").ok_or("write `FROM - TO`")?;
        match (Moment::parse(from.trim())?, Moment::parse(to.trim())?) {
            (Moment::Week(start), Moment::Week(end)) if start == end => {
                Err("it ends where it begins".to_owned())
            }
            (Moment::Week(start), Moment::Week(end)) => Ok(Window::Weekly { start, end }),
            (Moment::Date(start), Moment::Date(end)) if start < end => Ok(Window::Once { start, end }),
            (Moment::Date(_), Moment::Date(_)) => Err("it ends before it begins".to_owned()),
            _ => Err("both ends have a day of the week, or both have a date".to_owned()),
        }
    }

    /// Whether `now`, in the time of the window, is within.
    pub fn contains(self, now: DateTime) -> bool {
        match self {
            Window::Once { start, end } => start <= now && now < end,
            Window::Weekly { start, end } => {
                let minute = minute_of_week(now.weekday(), now.time());
                // Over the end of the week it is all but the time from the end to the beginning.
                if start < end { start <= minute && minute < end } else { start <= minute || minute < end }
            }
        }
    }
}

/// The time of day at a fixed distance from UTC.
pub fn local(now_ms: u64, offset: Offset) -> Result<DateTime, String> {
    let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    now.map(|now| offset.to_datetime(now)).ok_or_else(|| format!("{now_ms} ms since 1970 is no date"))
}

/// `+01:00`, `-03:30`.
pub fn offset(text: &str) -> Result<Offset, String> {
    let wrong = || format!("`{text}` is not an offset from UTC like `+01:00`");
    let (sign, time) = match text.split_at_checked(1) {
        Some(("+", time)) => (1, time),
        Some(("-", time)) => (-1, time),
        _ => return Err(wrong()),
    };
    let time = clock_time(time).map_err(|_| wrong())?;
    let seconds = i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60;
    Offset::from_seconds(sign * seconds).map_err(|_| wrong())
}

/// One end of a window.
enum Moment {
    /// Minutes since Monday 00:00.
    Week(u32),
    Date(DateTime),
}

impl Moment {
    fn parse(text: &str) -> Result<Moment, String> {
        let (day, time) = text.split_once(' ').unwrap_or((text, ""));
        match weekday(day) {
            Some(day) => Ok(Moment::Week(minute_of_week(day, clock_time(time.trim())?))),
            None => date_time(text).map(Moment::Date),
        }
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_ascii_lowercase().as_str() {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

fn minute_of_week(day: Weekday, time: Time) -> u32 {
    let day = day.to_monday_zero_offset().unsigned_abs();
    (u32::from(day) * 24 + u32::from(time.hour().unsigned_abs())) * 60
        + u32::from(time.minute().unsigned_abs())
}

/// `2026-12-24 00:00`.
fn date_time(text: &str) -> Result<DateTime, String> {
    let parts = text.split_once(' ').and_then(|(date, time)| {
        let (year, rest) = date.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        let date = Date::new(year, month as i8, day as i8).ok()?;
        Some(date.to_datetime(clock_time(time.trim()).ok()?))
    });
    parts.ok_or_else(|| format!("`{text}` is neither like `Fri 18:00` nor like `2026-12-24 00:00`"))
}

/// `18:00`.
fn clock_time(text: &str) -> Result<Time, String> {
    let parts = text.split_once(':').and_then(|(hour, minute)| {
        let (hour, minute) = (number(hour, 2)?, number(minute, 2)?);
        Time::new(hour as i8, minute as i8, 0, 0).ok()
    });
    parts.ok_or_else(|| format!("`{text}` is not a time like `18:00`"))
}

/// So many digits and nothing else. jiff reads many more forms, and its reader is larger than the rest of the filter.
fn number(text: &str, digits: usize) -> Option<i16> {
    let all = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}
