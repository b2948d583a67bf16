//! `[limits]`: what the host binds a deployment to.
//!
//! A manifest, a flag and the host's own defaults each say some limits and leave others open ([`AskedLimits`]); what comes
//! of them is in force for a revision ([`Limits`]).

use bytesize::ByteSize;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// What a deployment is bound in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of one instance: all its linear memories and tables together.
    Memory,
    /// Wall time of one call, from the moment it has an instance.
    Timeout,
    /// Time of one call on a processor.
    Cpu,
    /// Calls that run at once.
    Concurrency,
    /// Calls that wait for their turn; the next one is turned away.
    Queue,
    /// One message of a caller.
    Request,
    /// One message of the deployment.
    Reply,
    /// What the deployment writes to its log in a second.
    Log,
    /// Requests that one instance of a WASI 0.3 HTTP handler serves, one after the other.
    Reuse,
}

/// How the number of a limit is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Time,
    /// How many.
    Count,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// What is known of one limit: its name, the least and the most that can be asked for, and what holds if nobody says.
struct Kind {
    name: &'static str,
    unit: Unit,
    least: u64,
    most: u64,
    default: u64,
}

impl Limit {
    /// All of them, in the order in which people read them.
    pub const ALL: [Limit; 9] = [
        Limit::Memory,
        Limit::Timeout,
        Limit::Cpu,
        Limit::Concurrency,
        Limit::Queue,
        Limit::Request,
        Limit::Reply,
        Limit::Log,
        Limit::Reuse,
    ];

    const fn kind(self) -> Kind {
        let (name, unit, least, most, default) = match self {
            // A page is the least that a guest can have.
            Limit::Memory => ("memory", Unit::Bytes, 64 * KIB, 4 * GIB, 64 * MIB),
            Limit::Timeout => ("timeout", Unit::Time, MILLISECOND, 3600 * SECOND, 5 * SECOND),
            // Counted in steps of the engine's clock. Calls have their timeout as well, so nobody has to say.
            Limit::Cpu => ("cpu", Unit::Time, 10 * MILLISECOND, 3600 * SECOND, 3600 * SECOND),
            Limit::Concurrency => ("concurrency", Unit::Count, 1, 4096, 64),
            Limit::Queue => ("queue", Unit::Count, 0, 65_536, 256),
            Limit::Request => ("request", Unit::Bytes, 0, 256 * MIB, 32 * MIB),
            // What an instance can pass to the host at once.
            Limit::Reply => ("reply", Unit::Bytes, 0, 64 * MIB, 64 * MIB),
            Limit::Log => ("log", Unit::Bytes, 0, GIB, 4 * MIB),
            Limit::Reuse => ("reuse", Unit::Count, 1, 1_000_000, 128),
        };
        Kind { name, unit, least, most, default }
    }

    /// As manifests and flags write it.
    pub const fn name(self) -> &'static str {
        self.kind().name
    }

    /// How its number is to be read.
    pub const fn unit(self) -> Unit {
        self.kind().unit
    }

    /// The limit of that name.
    pub fn named(name: &str) -> Option<Limit> {
        Limit::ALL.into_iter().find(|limit| limit.name() == name)
    }

    /// A value of it as people write it.
    pub fn text(self, value: u64) -> String {
        match self.unit() {
            Unit::Bytes => ByteSize::b(value).display().iec().to_string(),
            Unit::Time => humantime::format_duration(Duration::from_nanos(value)).to_string(),
            Unit::Count => value.to_string(),
        }
    }

    fn read(self, text: &str) -> Result<u64, String> {
        let read = match self.unit() {
            Unit::Bytes => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
            Unit::Time => humantime::parse_duration(text).ok().and_then(|time| u64::try_from(time.as_nanos()).ok()),
            Unit::Count => text.parse().ok(),
        };
        read.ok_or_else(|| {
            let form = match self.unit() {
                Unit::Bytes => "a size like \"64MiB\"",
                Unit::Time => "a duration like \"5s\" or \"250ms\"",
                Unit::Count => "a number",
            };
            format!("limits.{}: expected {form}, got {text:?}", self.name())
        })
    }

    fn check(self, value: u64) -> Result<(), String> {
        let Kind { name, least, most, .. } = self.kind();
        match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("limits.{name}: expected {} to {}", self.text(least), self.text(most))),
        }
    }
}

/// What a body may have that is read as it comes and that nobody limits, in bytes: it takes no memory of the host.
const UPLOAD: u64 = GIB;

/// Some of the limits, as somebody asks for them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AskedLimits([Option<u64>; Limit::ALL.len()]);

/// What a host gives to those who do not ask, and what it gives at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostLimits {
    /// Where a manifest does not say.
    pub default: AskedLimits,
    /// No deployment gets more.
    pub most: AskedLimits,
}

impl AskedLimits {
    /// What is asked of one limit: bytes, nanoseconds or a count.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0[limit as usize]
    }

    /// Asks for a limit.
    pub fn set(&mut self, limit: Limit, value: u64) {
        self.0[limit as usize] = Some(value);
    }

    /// Reads `memory=64MiB`, as flags have it.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("{text:?}: expected a limit and its value, like memory=64MiB"));
        };
        let limit = Limit::named(name).ok_or_else(|| {
            let hint = crate::name::hint(name, Limit::ALL.iter().map(|limit| limit.name()));
            format!("unknown limit {name}: {hint}")
        })?;
        let value = limit.read(value)?;
        limit.check(value)?;
        self.set(limit, value);
        Ok(())
    }

    /// What is asked for, as [`AskedLimits::read`] takes it.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        Limit::ALL.into_iter().filter_map(|limit| {
            let value = self.get(limit)?;
            Some(match limit.unit() {
                Unit::Time => format!("{}={}", limit.name(), limit.text(value)),
                Unit::Bytes | Unit::Count => format!("{}={value}", limit.name()),
            })
        })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Asks for what `other` asks for, and else for what this does.
    pub fn with(&self, other: &AskedLimits) -> AskedLimits {
        let mut both = self.clone();
        for limit in Limit::ALL {
            both.0[limit as usize] = other.get(limit).or(self.get(limit));
        }
        both
    }

    /// Says which limit is outside of what can be asked for, if one is.
    pub(super) fn check(&self) -> Result<(), String> {
        Limit::ALL.into_iter().try_for_each(|limit| self.get(limit).map_or(Ok(()), |value| limit.check(value)))
    }

    /// Says which limit is above what the host gives, if one is.
    pub fn check_within(&self, host: &HostLimits) -> Result<(), String> {
        for limit in Limit::ALL {
            if let (Some(asked), Some(most)) = (self.get(limit), host.most.get(limit))
                && asked > most
            {
                let (name, asked, most) = (limit.name(), limit.text(asked), limit.text(most));
                return Err(format!("limits.{name}: {asked} is more than this host gives: {most}"));
            }
        }
        Ok(())
    }

    /// What is in force: what is asked for, else what the host gives, and never more than it gives at most.
    pub fn within(&self, host: &HostLimits) -> Limits {
        let value = |limit: Limit| {
            let value = self.get(limit).or(host.default.get(limit)).unwrap_or(limit.kind().default);
            value.min(host.most.get(limit).unwrap_or(u64::MAX))
        };
        let count = |limit: Limit| u32::try_from(value(limit)).unwrap_or(u32::MAX);
        let timeout = value(Limit::Timeout);
        Limits {
            memory: ByteSize::b(value(Limit::Memory)),
            timeout: Duration::from_nanos(timeout),
            cpu: Duration::from_nanos(value(Limit::Cpu)),
            concurrency: count(Limit::Concurrency),
            queue: count(Limit::Queue),
            request: ByteSize::b(value(Limit::Request)),
            upload: ByteSize::b(match self.get(Limit::Request).or(host.default.get(Limit::Request)) {
                Some(_) => value(Limit::Request),
                None => host.most.get(Limit::Request).unwrap_or(UPLOAD),
            }),
            reply: ByteSize::b(value(Limit::Reply)),
            log: ByteSize::b(value(Limit::Log)),
            reuse: count(Limit::Reuse),
        }
    }
}

impl fmt::Debug for AskedLimits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Limit::ALL.into_iter().filter_map(|limit| Some((limit.name(), limit.text(self.get(limit)?))));
        out.debug_map().entries(said).finish()
    }
}

impl Serialize for AskedLimits {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        for limit in Limit::ALL {
            match (self.get(limit), limit.unit()) {
                (Some(value), Unit::Time) => map.serialize_entry(limit.name(), &limit.text(value))?,
                (Some(value), Unit::Bytes | Unit::Count) => map.serialize_entry(limit.name(), &value)?,
                (None, _) => {}
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AskedLimits {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<AskedLimits, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = AskedLimits;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a table of limits")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AskedLimits, A::Error> {
                let mut asked = AskedLimits::default();
                while let Some(name) = map.next_key::<String>()? {
                    let limit = Limit::named(&name)
                        .ok_or_else(|| A::Error::custom(format!("limits.{name}: there is no such limit")))?;
                    let value = match map.next_value::<Written>()? {
                        Written::Number(value) if limit.unit() == Unit::Time => limit.read(&value.to_string()),
                        Written::Number(value) => Ok(value),
                        Written::Text(text) => limit.read(&text),
                    };
                    asked.set(limit, value.map_err(A::Error::custom)?);
                }
                Ok(asked)
            }
        }
        input.deserialize_map(Read)
    }
}

/// A value as it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or a text")]
enum Written {
    Number(u64),
    Text(String),
}

/// The limits that are in force for a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// [`Limit::Memory`]
    pub memory: ByteSize,
    /// [`Limit::Timeout`]
    pub timeout: Duration,
    /// [`Limit::Cpu`]
    pub cpu: Duration,
    /// [`Limit::Concurrency`]
    pub concurrency: u32,
    /// [`Limit::Queue`]
    pub queue: u32,
    /// [`Limit::Request`]
    pub request: ByteSize,
    /// The same for a body that the guest reads as it comes: it may be larger, as long as nobody says what it may be.
    pub upload: ByteSize,
    /// [`Limit::Reply`]
    pub reply: ByteSize,
    /// [`Limit::Log`]
    pub log: ByteSize,
    /// [`Limit::Reuse`]
    pub reuse: u32,
}

impl Limits {
    /// One of them: bytes, nanoseconds or a count.
    pub fn get(&self, limit: Limit) -> u64 {
        let time = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match limit {
            Limit::Memory => self.memory.as_u64(),
            Limit::Timeout => time(self.timeout),
            Limit::Cpu => time(self.cpu),
            Limit::Concurrency => self.concurrency.into(),
            Limit::Queue => self.queue.into(),
            Limit::Request => self.request.as_u64(),
            Limit::Reply => self.reply.as_u64(),
            Limit::Log => self.log.as_u64(),
            Limit::Reuse => self.reuse.into(),
        }
    }
}

/// Those of a deployment that asks for nothing, on a host that says nothing.
impl Default for Limits {
    fn default() -> Limits {
        AskedLimits::default().within(&HostLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(texts: &[&str]) -> AskedLimits {
        let mut asked = AskedLimits::default();
        texts.iter().for_each(|text| asked.read(text).unwrap());
        asked
    }

    #[test]
    fn what_is_asked_for_goes_before_the_hosts_default_and_never_beyond_its_maximum() {
        let host = HostLimits { default: asked(&["memory=32MiB", "queue=8"]), most: asked(&["memory=48MiB"]) };
        let limits = asked(&["queue=16"]).within(&host);
        assert_eq!((limits.memory, limits.queue, limits.concurrency), (ByteSize::mib(32), 16, 64));
        let too_much = asked(&["memory=64MiB"]);
        assert_eq!(too_much.within(&host).memory, ByteSize::mib(48));
        let error = too_much.check_within(&host).unwrap_err();
        assert_eq!(error, "limits.memory: 64.0 MiB is more than this host gives: 48.0 MiB");
    }

    #[test]
    fn time_on_a_processor_is_bounded_where_somebody_says() {
        assert_eq!(asked(&["timeout=1m", "cpu=1s"]).within(&HostLimits::default()).cpu, Duration::from_secs(1));
        let strict = HostLimits { most: asked(&["cpu=2s"]), ..HostLimits::default() };
        assert_eq!(asked(&["timeout=1m"]).within(&strict).cpu, Duration::from_secs(2));
    }

    #[test]
    fn a_limit_that_cannot_be_says_why() {
        let error = |text: &str| AskedLimits::default().read(text).unwrap_err();
        assert_eq!(error("memory"), "\"memory\": expected a limit and its value, like memory=64MiB");
        assert_eq!(error("memroy=1MiB"), "unknown limit memroy: did you mean memory?");
        assert_eq!(error("timeout=fast"), "limits.timeout: expected a duration like \"5s\" or \"250ms\", got \"fast\"");
        assert_eq!(error("concurrency=0"), "limits.concurrency: expected 1 to 4096");
    }

    #[test]
    fn limits_come_back_as_they_were_written_down() {
        let limits = asked(&["memory=1MiB", "timeout=1s 5ms", "queue=0"]);
        let json = serde_json::to_string(&limits).unwrap();
        assert_eq!(json, r#"{"memory":1048576,"timeout":"1s 5ms","queue":0}"#);
        assert_eq!(serde_json::from_str::<AskedLimits>(&json).unwrap(), limits);
        // As hosts wrote it before there were limits that nobody asked for.
        let before = r#"{"memory":"64.0 MiB","timeout":"5s","concurrency":64,"queue":256}"#;
        assert_eq!(serde_json::from_str::<AskedLimits>(before).unwrap().get(Limit::Memory), Some(64 * MIB));
    }
}
