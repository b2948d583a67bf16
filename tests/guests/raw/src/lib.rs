//! Takes its messages as bytes, which it does not look into: the test says in a descriptor set what they are.

wit_bindgen::generate!({
    inline: "
        package test:raw;

        world raw {
            export micro:function/handler@0.1.0;
        }
    ",
    path: "../../../wit",
    generate_all,
});

use exports::micro::function::handler::{Body, Context, Error, Exchange, Guest, GuestExchange};
use std::cell::RefCell;
use std::collections::VecDeque;

struct Raw;

/// Messages on their way back, and those that are kept until the end.
struct Messages {
    ready: RefCell<VecDeque<Vec<u8>>>,
    kept: RefCell<Option<Vec<u8>>>,
}

impl GuestExchange for Messages {
    fn send(&self, item: Vec<u8>) -> Result<(), Error> {
        match &mut *self.kept.borrow_mut() {
            Some(kept) => kept.extend(item),
            None => self.ready.borrow_mut().push_back(item),
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Error> {
        self.ready.borrow_mut().extend(self.kept.take());
        Ok(())
    }

    fn next(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.ready.borrow_mut().pop_front())
    }
}

impl Guest for Raw {
    type Exchange = Messages;

    fn handle(context: Context, request: Body) -> Result<Body, Error> {
        if request.content.is_empty() {
            let detail = format!("{} got nothing", context.endpoint);
            return Err(Error { id: String::new(), code: 418, detail, status: String::new() });
        }
        Ok(request)
    }

    fn open(context: Context, request: Body) -> Result<Exchange, Error> {
        let ready = match context.endpoint.as_str() {
            "Talk.Repeat" => vec![request.content; 3].into(),
            _ => VecDeque::new(),
        };
        let kept = (context.endpoint == "Talk.Join").then(Vec::new);
        Ok(Exchange::new(Messages { ready: RefCell::new(ready), kept: RefCell::new(kept) }))
    }
}

export!(Raw);
