//! The days a rate is in force: half open, so that one rate's end is the next one's start. It knows no rates.

use jiff::civil::Date;

/// From the first day in force up to, not including, the first day no longer in force. Either end may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    from: Option<Date>,
    to: Option<Date>,
}

impl Period {
    /// Every day.
    pub const ALWAYS: Self = Self { from: None, to: None };

    /// The days from `from` up to, not including, `to`. There must be one.
    pub fn new(from: Option<Date>, to: Option<Date>) -> Result<Self, EmptyPeriod> {
        let period = Self { from, to };
        if period.is_empty() { Err(EmptyPeriod) } else { Ok(period) }
    }

    /// The first day, unless it is unknown.
    pub fn from(self) -> Option<Date> {
        self.from
    }

    /// The first day no longer in force, unless no end is known.
    pub fn to(self) -> Option<Date> {
        self.to
    }

    /// Whether the day is one of them.
    pub fn contains(self, date: Date) -> bool {
        self.from.is_none_or(|from| from <= date) && self.to.is_none_or(|to| date < to)
    }

    /// Whether they share a day.
    pub fn overlaps(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// What is left without the days of `other`: the part before it and the part after it.
    pub(super) fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = other.from.map(|from| self.intersection(Self { from: None, to: Some(from) }));
        let after = other.to.map(|to| self.intersection(Self { from: Some(to), to: None }));
        before.into_iter().chain(after).filter(|part| !part.is_empty())
    }

    fn intersection(self, other: Self) -> Self {
        // `None` sorts first, which is right for a start; for an end it has to lose.
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { from: self.from.max(other.from), to }
    }

    fn is_empty(self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if from >= to)
    }
}

/// A period that ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("valid_to must be later than valid_from: it is the first day no longer in force")]
pub struct EmptyPeriod;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i8) -> Date {
        Date::constant(2026, 1, n)
    }

    fn period(from: Option<i8>, to: Option<i8>) -> Period {
        Period::new(from.map(day), to.map(day)).unwrap()
    }

    #[test]
    fn the_end_is_not_in_force() {
        let p = period(Some(5), Some(7));
        assert_eq!((4..9).filter(|n| p.contains(day(*n))).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(Period::new(Some(day(5)), Some(day(5))), Err(EmptyPeriod));
        assert!(Period::ALWAYS.contains(Date::MAX) && Period::ALWAYS.contains(Date::MIN));
    }

    /// Every pair of small periods, day by day: nothing lost, nothing kept that was taken away, no day twice.
    #[test]
    fn taking_away_is_exact_day_by_day() {
        let ends: Vec<Option<i8>> = std::iter::once(None).chain((2..8).map(Some)).collect();
        let all: Vec<Period> = ends
            .iter()
            .flat_map(|from| ends.iter().map(move |to| (from.map(day), to.map(day))))
            .filter_map(|(from, to)| Period::new(from, to).ok())
            .collect();
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
            let parts: Vec<Period> = a.without(b).collect();
            for n in 1..9 {
                let kept = parts.iter().filter(|part| part.contains(day(n))).count();
                assert_eq!(kept, usize::from(a.contains(day(n)) && !b.contains(day(n))), "{a:?} without {b:?} on {n}");
            }
            assert_eq!(a.overlaps(b), (1..9).any(|n| a.contains(day(n)) && b.contains(day(n))), "{a:?} {b:?}");
        }
    }
}
