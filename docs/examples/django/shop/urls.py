"""Where what is."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from shop import notifications, views

urlpatterns = [
    path("", views.orders, name="orders"),
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout/", LogoutView.as_view(next_page="login"), name="logout"),
    path("orders/", views.order),
    path("api/v1/is_user_auth/", notifications.is_user_auth),
]
