from http import HTTPStatus

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from config.lib import audit_log
from config.lib.messages import Message
from config.lib.scope import NOT_COVERED
from profiles import cache
from profiles.api.serializers import (
    USER_ID,
    NameSerializer,
    PartialErasureSerializer,
    ProfileChangeSerializer,
    ProfileSerializer,
    ProfileStatsSerializer,
)
from profiles.cache.cached_profile import CachedProfile
from profiles.models import Profile, ProfileQuerySet
from profiles.personal_data.erasure import erase
from profiles.rollout.decision import is_service_on
from profiles.user_ids import user_id_of

_USER_ID = OpenApiParameter("user_id", USER_ID, "path")


class ProfileViewSet(GenericViewSet[Profile]):
    """Read, change and erase the stored names of MAX users."""

    queryset = Profile.objects.all()
    serializer_class = ProfileSerializer
    lookup_field = "user_id"

    def profiles(self) -> ProfileQuerySet:
        """Return the profiles that the requesting user may see; the employees app overrides this."""
        return Profile.objects.all()

    def may_see(self, user_id: str) -> bool:
        """Return whether the requesting user may see and change this person, even if the person has no profile yet."""
        return True

    def visible_id(self, user_id: str) -> str:
        """Return the MAX ID to change; raise NotFound if the requesting user may not see the person."""
        user_id = checked_id(user_id)
        if not self.may_see(user_id):
            raise NotFound
        return user_id

    def may_erase(self, user_id: str) -> bool:
        """Return whether the requesting user may erase all of the person's data; the employees app overrides this."""
        return True

    def record(self, user_id: str, message: Message) -> None:
        """Write the audit row for a look-up or a change of a person; the employees app overrides this."""
        audit_log.record(self.request, message)

    @extend_schema(responses=ProfileSerializer, parameters=[_USER_ID, OpenApiParameter("X-Service", str, "header")])
    def retrieve(self, request: Request, user_id: str) -> Response:
        """Return a profile. It is empty if the person is unknown or X-Service names a service whose cache is off."""
        user_id = checked_id(user_id)
        service = request.headers.get("X-Service")
        is_shown = self.may_see(user_id) and (service is None or is_service_on(service))
        profile = cache.find(user_id).profile if is_shown else None
        self.record(user_id, Message("A person's data was read through the API"))
        return Response(ProfileSerializer(profile or CachedProfile.unknown(user_id)).data)

    @extend_schema(request=ProfileChangeSerializer, responses=ProfileSerializer, parameters=[_USER_ID])
    def update(self, request: Request, user_id: str) -> Response:
        """Set the names in the request. An absent field stays unchanged; an empty string clears the name."""
        serializer = ProfileChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = {name.removeprefix("max_"): value for name, value in serializer.validated_data.items()}
        return self._store_names(self.visible_id(user_id), fields)

    @extend_schema(responses={204: None, 202: PartialErasureSerializer}, parameters=[_USER_ID])
    def destroy(self, request: Request, user_id: str) -> Response:
        """Erase a person everywhere. Employee records remain, without the name; the audit row does not name the person.

        The inbox is also searched for other people's updates that mention the person. If this takes too long for one
        request, the response is 202: the name is no longer served, and a task completes the erasure.
        """
        user_id = self.visible_id(user_id)
        if not self.may_erase(user_id):
            raise PermissionDenied(NOT_COVERED)
        person = erase(user_id, by=request.user.get_username(), reason="by the API")
        if person.is_partial:
            return Response({"status": "searching"}, HTTPStatus.ACCEPTED)
        return Response(status=HTTPStatus.NO_CONTENT)

    @extend_schema(request=NameSerializer, responses=ProfileSerializer, parameters=[_USER_ID])
    @action(detail=True, methods=["post"], url_path="name")
    def set_name(self, request: Request, user_id: str) -> Response:
        """Set the user-provided name. Names in webhook updates never overwrite it."""
        serializer = NameSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self._store_names(self.visible_id(user_id), {"user_provided_name": serializer.validated_data["name"]})

    @extend_schema(responses=ProfileStatsSerializer)
    @action(detail=False)
    def stats(self, request: Request) -> Response:
        """Count the profiles: all, by source, and with a full name."""
        return Response(ProfileStatsSerializer(self.profiles().stats()).data)

    @transaction.atomic
    def _store_names(self, user_id: str, fields: dict[str, str]) -> Response:
        changed = cache.store_names(user_id, fields)
        self.record(user_id, Message("A person's names were changed through the API"))
        profile = changed[0] if changed else Profile.find(user_id)
        known = CachedProfile.of(profile) if profile else CachedProfile.unknown(user_id)
        return Response(ProfileSerializer(known).data)


def checked_id(user_id: str) -> str:
    """Return the ID in a URL path; raise ValidationError if it is invalid. Unlike a form's ID, it is not cleaned."""
    try:
        return user_id_of(user_id)
    except ValueError as error:
        raise serializers.ValidationError({"user_id": [str(error)]}) from None
