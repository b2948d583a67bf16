//! Counts, a number at a time: the smallest stream there is.

/// Streams of numbers.
#[micro::function]
mod feed {
    use micro::Stream;

    /// Counts from 1 up to a number. Each number is made when the caller is ready for it.
    pub fn count(to: u64) -> Stream<u64> {
        Stream::new(1..=to)
    }
}

#[cfg(test)]
mod tests {
    use super::feed;

    #[test]
    fn counts_from_one() {
        assert_eq!(feed::count(3).collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2, 3]));
        assert_eq!(feed::count(0).count(), 0);
    }

    #[test]
    fn nobody_has_to_hear_the_end() {
        assert_eq!(feed::count(u64::MAX).take(2).count(), 2);
    }
}
