//! What the contract offers a function: `wit_bindgen`'s view of it. A component imports of this what its code calls, and
//! nothing else.

wit_bindgen::generate!({
    inline: "
        package micro:sdk-calls;

        world sdk-calls {
            import micro:function/client@0.1.0;
            import micro:function/events@0.1.0;
            import micro:function/outbox@0.1.0;
            import micro:function/store@0.1.0;
        }
    ",
    path: "../wit",
    with: {
        "micro:function/types@0.1.0": crate::types,
        "micro:function/client@0.1.0": generate,
        "micro:function/events@0.1.0": generate,
        "micro:function/outbox@0.1.0": generate,
        "micro:function/store@0.1.0": generate,
    },
});
