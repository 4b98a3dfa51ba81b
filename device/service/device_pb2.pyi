from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Level(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEVEL_UNSPECIFIED: _ClassVar[Level]
    LEVEL_NEARLY_NONE: _ClassVar[Level]
    LEVEL_LITTLE: _ClassVar[Level]
    LEVEL_HALF: _ClassVar[Level]
    LEVEL_PLENTY: _ClassVar[Level]

class Activity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTIVITY_UNSPECIFIED: _ClassVar[Activity]
    ACTIVITY_IDLE: _ClassVar[Activity]
    ACTIVITY_TRAINING: _ClassVar[Activity]
    ACTIVITY_PAUSED_BY_OWNER: _ClassVar[Activity]
    ACTIVITY_WAITING_FOR_POWER: _ClassVar[Activity]
    ACTIVITY_WAITING_FOR_NETWORK: _ClassVar[Activity]
    ACTIVITY_TOO_HOT: _ClassVar[Activity]
LEVEL_UNSPECIFIED: Level
LEVEL_NEARLY_NONE: Level
LEVEL_LITTLE: Level
LEVEL_HALF: Level
LEVEL_PLENTY: Level
ACTIVITY_UNSPECIFIED: Activity
ACTIVITY_IDLE: Activity
ACTIVITY_TRAINING: Activity
ACTIVITY_PAUSED_BY_OWNER: Activity
ACTIVITY_WAITING_FOR_POWER: Activity
ACTIVITY_WAITING_FOR_NETWORK: Activity
ACTIVITY_TOO_HOT: Activity

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Record(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    def __init__(self, body: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("path", "offset", "length")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    path: str
    offset: int
    length: int
    def __init__(self, path: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("size", "offset", "data")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    size: int
    offset: int
    data: bytes
    def __init__(self, size: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("kind", "body")
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    body: bytes
    def __init__(self, kind: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("known",)
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    known: bool
    def __init__(self, known: bool = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("activity", "battery", "free_memory", "free_disk")
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    BATTERY_FIELD_NUMBER: _ClassVar[int]
    FREE_MEMORY_FIELD_NUMBER: _ClassVar[int]
    FREE_DISK_FIELD_NUMBER: _ClassVar[int]
    activity: Activity
    battery: Level
    free_memory: Level
    free_disk: Level
    def __init__(self, activity: _Optional[_Union[Activity, str]] = ..., battery: _Optional[_Union[Level, str]] = ..., free_memory: _Optional[_Union[Level, str]] = ..., free_disk: _Optional[_Union[Level, str]] = ...) -> None: ...
