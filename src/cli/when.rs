//! Moments as people type them: a date, a date with a time, or an age.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};

const FORMATS: [&str; 4] = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];

/// The moment itself; a day begins at midnight.
pub(super) fn since(text: &str) -> Result<DateTime<Local>, String> {
    parse(text, Local::now(), NaiveTime::MIN)
}

/// The moment itself; a day ends where the next begins.
pub(super) fn until(text: &str) -> Result<DateTime<Local>, String> {
    let last = NaiveTime::from_hms_nano_opt(23, 59, 59, 999_999_999).unwrap_or_default();
    parse(text, Local::now(), last)
}

fn parse(text: &str, now: DateTime<Local>, time_of_day: NaiveTime) -> Result<DateTime<Local>, String> {
    let text = text.trim();
    if let Some(age) = age(text) {
        return now.checked_sub_signed(age).ok_or_else(|| format!("`{text}` is too long ago"));
    }
    let dated = FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let moment =
        dated.or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| day.and_time(time_of_day)));
    // In the hour that summer time skips there is no such moment; the one before will do.
    let local = moment.and_then(|m| {
        Local
            .from_local_datetime(&m)
            .earliest()
            .or_else(|| Local.from_local_datetime(&(m - TimeDelta::hours(1))).latest())
    });
    local.ok_or_else(|| {
        format!("`{text}` must be a date such as 2026-11-21 or \"2026-11-21 15:30\", or an age such as 30d, 12h or 45m")
    })
}

/// `30d`, `2w`, `12h`, `45m`, `90s`.
fn age(text: &str) -> Option<TimeDelta> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|n| *n >= 0)?;
    match unit {
        "s" => TimeDelta::try_seconds(number),
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        "w" => TimeDelta::try_weeks(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> DateTime<Local> {
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect("a moment");
        Local.from_local_datetime(&naive).earliest().expect("exists")
    }

    #[test]
    fn dates_ages_and_nonsense() {
        let now = moment("2026-11-21 15:30:22");
        let read = |text: &str| parse(text, now, NaiveTime::MIN);
        assert_eq!(read("2026-11-20"), Ok(moment("2026-11-20 00:00:00")));
        assert_eq!(read("2026-11-20 08:15"), Ok(moment("2026-11-20 08:15:00")));
        assert_eq!(read("2026-11-20T08:15:30"), Ok(moment("2026-11-20 08:15:30")));
        assert_eq!(read("30m"), Ok(moment("2026-11-21 15:00:22")));
        assert_eq!(read("2w"), read("14d"));
        for text in ["", "d", "-3d", "3 days", "yesterday", "2026-13-01", "99999999999999d", "é"] {
            let error = read(text).expect_err(text);
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn a_day_counts_as_a_whole() {
        let (begin, end) = (since("2026-11-20").expect("a day"), until("2026-11-20").expect("a day"));
        assert!(begin <= moment("2026-11-20 00:00:00") && end >= moment("2026-11-20 23:59:59"));
        assert!(end < moment("2026-11-21 00:00:00"));
    }
}
