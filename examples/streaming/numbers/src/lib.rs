//! Streams of numbers: to the caller, from the caller, and both.

/// Streams of numbers.
#[micro::function]
mod numbers {
    use micro::stream::{Converse, Receive};
    use micro::{Error, Exchange, Stream, Upload};

    /// Counts from 1 up to a number. Each number is made when the caller is ready for it.
    pub fn count(to: u64) -> Stream<u64> {
        Stream::new(1..=to)
    }

    /// What was added up.
    pub struct Sum {
        pub count: u64,
        pub sum: f64,
    }

    /// Adds up the numbers that the caller sends, and replies once, at their end.
    pub fn add() -> Upload<f64, Sum> {
        Upload::new(Adding(Sum { count: 0, sum: 0.0 }))
    }

    /// Tells the mean of all numbers so far, for each number that the caller sends.
    pub fn mean() -> Exchange<f64, f64> {
        Exchange::new(Averaging::default())
    }

    struct Adding(Sum);

    impl Receive for Adding {
        type Item = f64;
        type Reply = Sum;

        fn send(&mut self, number: f64) -> Result<(), Error> {
            if !number.is_finite() {
                return Err(Error::bad_request(format!("{number} cannot be added")));
            }
            self.0.count += 1;
            self.0.sum += number;
            Ok(())
        }

        fn finish(self) -> Result<Sum, Error> {
            Ok(self.0)
        }
    }

    #[derive(Default)]
    struct Averaging {
        count: f64,
        sum: f64,
        /// Means that the caller has not been told.
        untold: std::collections::VecDeque<f64>,
    }

    impl Converse for Averaging {
        type In = f64;
        type Out = f64;

        fn send(&mut self, number: f64) -> Result<(), Error> {
            self.count += 1.0;
            self.sum += number;
            self.untold.push_back(self.sum / self.count);
            Ok(())
        }

        fn next(&mut self) -> Result<Option<f64>, Error> {
            Ok(self.untold.pop_front())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn each_number_is_answered_by_a_mean() {
            let mut exchange = mean();
            exchange.send(1.0).and_then(|()| exchange.send(2.0)).expect("they are taken");
            assert_eq!(exchange.collect::<Result<Vec<_>, _>>(), Ok(vec![1.0, 1.5]));
        }
    }
}
