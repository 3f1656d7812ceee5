"""``flask.typing``."""

from carboy.typing import AfterRequestCallable as AfterRequestCallable
from carboy.typing import AppOrBlueprintKey as AppOrBlueprintKey
from carboy.typing import BeforeFirstRequestCallable as BeforeFirstRequestCallable
from carboy.typing import BeforeRequestCallable as BeforeRequestCallable
from carboy.typing import ErrorHandlerCallable as ErrorHandlerCallable
from carboy.typing import HeadersValue as HeadersValue
from carboy.typing import HeaderValue as HeaderValue
from carboy.typing import ResponseClass as ResponseClass
from carboy.typing import ResponseReturnValue as ResponseReturnValue
from carboy.typing import ResponseValue as ResponseValue
from carboy.typing import RouteCallable as RouteCallable
from carboy.typing import ShellContextProcessorCallable as ShellContextProcessorCallable
from carboy.typing import TeardownCallable as TeardownCallable
from carboy.typing import TemplateContextProcessorCallable as TemplateContextProcessorCallable
from carboy.typing import TemplateFilterCallable as TemplateFilterCallable
from carboy.typing import TemplateGlobalCallable as TemplateGlobalCallable
from carboy.typing import TemplateTestCallable as TemplateTestCallable
from carboy.typing import URLDefaultCallable as URLDefaultCallable
from carboy.typing import URLValuePreprocessorCallable as URLValuePreprocessorCallable
