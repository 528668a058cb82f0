//! How messages of edges are read: measured first, decoded then. Pure but for the one figure that it remembers.
//!
//! Keeps: what decoding takes is bounded by what the server itself has sent, or would send.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use schema::bounds;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::Bytes;
use tonic_prost::{ProstCodec, ProstEncoder};

/// The most rules that a tree wants on one edge. Of the process, since the generated service makes its codecs by itself;
/// it only grows.
static WANTED: AtomicUsize = AtomicUsize::new(bounds::RULES);

/// From now on edges may list so many rules.
pub(super) fn allow_rules(rules: usize) {
    WANTED.fetch_max(rules, Ordering::Relaxed);
}

/// How many rules an edge may list.
pub(super) fn most_rules() -> usize {
    WANTED.load(Ordering::Relaxed)
}

/// Reads messages within [`bounds`], and writes them as prost does.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for BoundedCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Reads messages within [`bounds`].
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use prost::bytes::Buf;
        // One message and nothing else; it is in one piece already, so this copies nothing.
        let message: Bytes = buf.copy_to_bytes(buf.remaining());
        bounds::check(&message, most_rules()).map_err(|over| Status::resource_exhausted(over.to_string()))?;
        U::decode(message).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
