//! Where orders are paid.

/// Takes money for orders.
#[micro::function]
mod payments {
    use micro::Error;
    use micro::events::{self, Event};

    /// More than this nobody pays at once.
    const LIMIT: u64 = 100_000;

    /// An order that was placed.
    pub struct Placed {
        pub id: String,
        pub item: String,
        pub price: u64,
    }

    /// Takes the money for an order, which does not always work the first time.
    #[micro::subscribe("orders.placed", queue = "payments", retries = 3, backoff = "100ms")]
    pub fn pay(order: Placed) -> Result<(), Error> {
        let attempt = events::current().map_or(1, |event| event.attempt);
        if order.price > LIMIT {
            return Err(Error::internal(format!("the bank refuses {} for order {}", order.price, order.id)));
        }
        if order.item == "umbrella" && attempt == 1 {
            return Err(Error::new(502, "the bank does not answer"));
        }
        Event::json(&micro::json!({ "id": order.id, "item": order.item }))?.key(&order.id).publish("orders.paid")
    }
}
