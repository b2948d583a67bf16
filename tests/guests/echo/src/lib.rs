//! Gives back what it is given, for every WIT type.

micro_sdk::wit_bindgen::generate!({
    path: ["../../../wit", "wit"],
    world: "test:echo/echo-world",
    runtime_path: "micro_sdk::wit_bindgen::rt",
    with: { "micro:function/types@0.1.0": micro_sdk::types },
});

use exports::test::echo::echo::{
    AllTypes, Figure, Guest, Hue, KebabNames, OutcomeSet, PermissionSet, Place, TwentyFlags,
};
use micro_sdk::types::Error;
use std::collections::BTreeMap;

/// Writes the functions that give back their one parameter.
macro_rules! give_back {
    ($($name:ident: $type:ty),* $(,)?) => { $(fn $name(value: $type) -> $type { value })* };
}

struct Echo;

impl Guest for Echo {
    give_back! {
        bool: bool, s8: i8, s16: i16, s32: i32, s64: i64, u8: u8, u16: u16, u32: u32, u64: u64,
        f32: f32, f64: f64, char: char, string: String, bytes: Vec<u8>, strings: Vec<String>,
        points: Vec<Place>, nested: Vec<Vec<u32>>, option: Option<String>,
        nested_option: Option<Option<u32>>, outcomes: OutcomeSet, shape: Figure, shapes: Vec<Figure>,
        color: Hue, permissions: PermissionSet, many_flags: TwentyFlags, tuple: (u32, String, Place),
        map: BTreeMap<String, u32>, kebab: KebabNames, everything: AllTypes, point: Place,
    }

    fn sum(a: u32, b: Option<u32>) -> u32 {
        a.wrapping_add(b.unwrap_or(0))
    }

    #[rustfmt::skip]
    fn many(
        p1: u32, p2: u32, p3: u32, p4: u32, p5: u32, p6: u32, p7: u32, p8: u32, p9: u32,
        p10: u32, p11: u32, p12: u32, p13: u32, p14: u32, p15: u32, p16: u32, p17: u32, p18: String,
    ) -> Vec<String> {
        let numbers = [p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16, p17];
        numbers.iter().map(u32::to_string).chain([p18]).collect()
    }

    fn nothing() {}

    fn refuse(name: String, code: u16) -> Result<String, Error> {
        if code == 0 { Ok(name) } else { Err(Error::new(code, format!("{name} is refused"))) }
    }

    fn complain(text: Option<String>) -> Result<(), String> {
        text.map_or(Ok(()), Err)
    }

    fn shrug(fail: bool) -> Result<u32, ()> {
        if fail { Err(()) } else { Ok(7) }
    }
}

export!(Echo);
