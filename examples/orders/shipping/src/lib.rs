//! Where orders leave.

/// Sends what was paid for.
#[micro::function]
mod shipping {
    use micro::Error;
    use micro::store::{Failure, Put, Store};

    /// An order that was paid.
    pub struct Paid {
        pub id: String,
        pub item: String,
    }

    /// Sends an item. A message may come twice; an item leaves once.
    #[micro::subscribe("orders.paid", queue = "shipping")]
    pub fn send(order: Paid) -> Result<(), Error> {
        match Store::own().put_with(&order.id, &order.item, Put::new().if_absent()) {
            Ok(_) | Err(Failure::Conflict(_)) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// What was sent for an order.
    pub fn sent(id: String) -> Result<String, Error> {
        let item = Store::own().get(&id)?.and_then(|item| String::from_utf8(item).ok());
        item.ok_or_else(|| Error::not_found(format!("nothing was sent for order {id}")))
    }
}
