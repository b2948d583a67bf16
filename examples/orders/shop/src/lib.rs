//! Where orders are placed.

/// Takes orders.
#[micro::function]
mod shop {
    use micro::Error;
    use micro::events::Event;
    use micro::store::{Put, Store};

    /// What somebody wants.
    pub struct NewOrder {
        /// Tells the order from all others.
        pub id: String,
        pub item: String,
        /// In cents.
        pub price: u64,
    }

    /// Takes an order, once. Everything that follows from it happens by messages, after this has answered.
    pub fn order(new: NewOrder) -> Result<(), Error> {
        let NewOrder { id, item, price } = new;
        let placed = micro::json!({ "id": id, "item": item, "price": price });
        // All that happens to one order is handled in its order.
        let event = Event::json(&placed)?.key(&id);
        // The order is noted and published, or neither.
        let order = Store::own().transaction().put_json_with(&id, &placed, Put::new().if_absent())?;
        order.publish("orders.placed", event).commit()?;
        Ok(())
    }
}
