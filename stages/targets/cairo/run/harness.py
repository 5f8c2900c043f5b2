"""The small contract around an emitted workspace, through which StarkWare's compiler of contracts takes it.

It hands the call data over as it is, without Starknet's decoding of arrays, which would cost about 45 steps an element.
"""

from __future__ import annotations

CRATE = "harness"
ENTRY = "harness::harness"

SOURCE = """\
#[starknet::contract]
mod harness {{
    use core::array::{{ArrayTrait, SpanTrait}};
    use core::option::Option;
    use core::serde::Serde;

    #[storage]
    struct Storage {{}}

    #[derive(Drop)]
    struct CallData {{
        felts: Span<felt252>,
    }}

    impl CallDataSerde of Serde<CallData> {{
        fn serialize(self: @CallData, ref output: Array<felt252>) {{}}
        fn deserialize(ref serialized: Span<felt252>) -> Option<CallData> {{
            let felts = serialized;
            serialized = ArrayTrait::new().span();
            Option::Some(CallData {{ felts }})
        }}
    }}

    #[external(v0)]
    fn run(self: @ContractState, data: CallData) -> Array<felt252> {{
        {package}::{entry}(data.felts)
    }}
}}
"""
"""`package` is the workspace's root package, `entry` the path of `fn(Span<felt252>) -> Array<felt252>` in it"""
