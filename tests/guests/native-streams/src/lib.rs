//! Streams by the streams of the component model.

wit_bindgen::generate!();

use exports::test::native_streams::native::Guest;
use wit_bindgen::StreamReader;

struct Native;

impl Guest for Native {
    async fn upper(mut words: StreamReader<String>) -> StreamReader<String> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            while let Some(word) = words.next().await {
                if !writer.write_all(vec![word.to_uppercase()]).await.is_empty() {
                    return;
                }
            }
        });
        reader
    }

    async fn bytes(count: u32) -> StreamReader<u8> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            writer.write_all((0..count).map(|byte| byte as u8).collect()).await;
        });
        reader
    }

    async fn ticks(from: u32) -> Result<StreamReader<String>, String> {
        if from == 666 {
            return Err("not from there".to_owned());
        }
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            for tick in from.. {
                if !writer.write_all(vec![tick.to_string()]).await.is_empty() {
                    return;
                }
            }
        });
        Ok(reader)
    }

    async fn count(mut content: StreamReader<u8>, start: u64) -> u64 {
        let mut count = start;
        while content.next().await.is_some() {
            count += 1;
        }
        count
    }
}

export!(Native);
