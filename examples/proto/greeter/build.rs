//! Makes Rust of the `.proto` file.

fn main() -> Result<(), micro_sdk_proto::Error> {
    micro_sdk_proto::compile(&["proto/greeter.proto"], &["proto"])
}
