//! Channels-last 3-D operations as a Burn backend extension.
