//! A service that fails when it is told to, says so of its health, and refuses states that it does not know.

/// Fails on demand.
#[micro::service]
mod unsteady {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    static CALLS: AtomicU64 = AtomicU64::new(0);
    static IS_ILL: AtomicBool = AtomicBool::new(false);

    /// Counts the calls of this instance.
    pub fn count() -> u64 {
        CALLS.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Says who it is: different for each instance.
    pub fn me(user_id: String) -> String {
        static ME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let _ = user_id;
        ME.get_or_init(|| std::collections::hash_map::RandomState::new().build().to_string()).clone()
    }

    trait Build {
        fn build(&self) -> u64;
    }

    impl Build for std::collections::hash_map::RandomState {
        fn build(&self) -> u64 {
            use std::hash::{BuildHasher, Hasher};
            self.build_hasher().finish()
        }
    }

    /// Traps.
    pub fn crash() {
        panic!("told to");
    }

    /// Keeps the instance busy for so many milliseconds.
    pub fn busy(wait: u32) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(wait.into()) {}
    }

    /// Is not healthy from now on.
    pub fn fall_ill() {
        IS_ILL.store(true, Ordering::Relaxed);
    }

    #[micro::start]
    fn start() -> Result<(), String> {
        match std::env::var("START").as_deref() {
            Ok("refuse") => Err("told not to start".to_owned()),
            _ => Ok(()),
        }
    }

    #[micro::stop]
    fn stop() {
        println!("stopped after {} calls", CALLS.load(Ordering::Relaxed));
    }

    #[micro::health]
    fn health() -> Result<(), String> {
        if std::env::var("HEALTH").as_deref() == Ok("crash") {
            panic!("health crashes");
        }
        match IS_ILL.load(Ordering::Relaxed) {
            true => Err("ill".to_owned()),
            false => Ok(()),
        }
    }

    #[micro::save]
    fn save() -> Vec<u8> {
        CALLS.load(Ordering::Relaxed).to_string().into_bytes()
    }

    #[micro::restore]
    fn restore(state: Vec<u8>) -> Result<(), String> {
        if std::env::var("RESTORE").as_deref() == Ok("refuse") {
            return Err("a state of another layout".to_owned());
        }
        let text = String::from_utf8(state).map_err(|error| error.to_string())?;
        CALLS.store(text.parse().map_err(|_| "no number".to_owned())?, Ordering::Relaxed);
        Ok(())
    }
}
