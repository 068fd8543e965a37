//! Series whose values others keep: read when they are asked for.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Writes counters, each by its name behind `prefix`, with what it counts and its value.
pub(crate) fn counters<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    prefix: &str,
    counters: [(&str, &str, u64); N],
) -> Result<(), Error> {
    for (name, help, value) in counters {
        let counter = ConstCounter::new(value);
        let name = format!("{prefix}_{name}");
        counter.encode(encoder.encode_descriptor(&name, help, None, counter.metric_type())?)?;
    }
    Ok(())
}

/// Writes a gauge.
pub(crate) fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}
